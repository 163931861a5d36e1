"""Functions in processes of their own, forked from one that has imported the package: imports take most of the time.

Invariant: the process that forks has no other threads, unlike that of the tests, and has read no dataset.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import ParamSpec

_P = ParamSpec("_P")
_PRELOADED = (
    *("catnip2bids.__main__", "catnip2bids.cli.app", "catnip2bids.cli.job_progress", "catnip2bids.cli.terminal"),
    *("catnip2bids.comparison", "catnip2bids.conversion", "catnip2bids.reporting", "catnip2bids.restoration"),
    *("catnip2bids.validation", "catnip2bids.verification", "dask", "imagecodecs", "lxml.etree", "ome_types.model"),
    *("pint", "pytest", "tensorstore", "xsdata_pydantic_basemodel.bindings", "zarr"),
)
"""What commands import, and the program that runs the tests."""


def forked(function: Callable[_P, object], *arguments: _P.args, **choices: _P.kwargs) -> int:
    """Call a function of a module in a process of its own; returns its exit code, negative for a signal.

    Raises
    ------
    TimeoutError
        If it takes two minutes; it is killed then.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    process = context.Process(target=function, args=arguments, kwargs=choices)
    process.start()
    process.join(120)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{arguments}: has not ended after two minutes")
    return process.exitcode
