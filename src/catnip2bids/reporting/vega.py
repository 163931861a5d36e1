"""Draw plots with Vega in a child process, because its JavaScript engine aborts the process if memory runs out.

Invariant: the report is written whatever happens to the child process; after it ended or failed to answer, it gets no
further requests. A plot that Vega cannot draw does not affect the others.
The child process runs this file as a script, so it imports nothing from the package.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from html import escape
from threading import Lock
from typing import Any, ClassVar, Final, Self

_VERSION: Final = "5.20"
_SECONDS_TO_ANSWER: Final = 120
_SECONDS_TO_END: Final = 10


class Vega:
    """Draws plots, one at a time; threads may share it."""

    _library: ClassVar[str | None] = None
    """Cache of the JavaScript bundle, which takes seconds to make."""

    def __init__(self) -> None:
        self.failure = ""  # why plots are missing
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command, pipe = [sys.executable, "-P", __file__], subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        except OSError as error:
            self._fail(f"no process can be started for them ({error.strerror})")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def svg(self, specification: dict[str, Any]) -> str:
        """Return a plot as SVG, or a paragraph with the reason if it cannot be drawn."""
        drawn: str | None = self._ask("vegalite_to_svg", json.dumps(specification))
        return f"<p>{escape(self.failure)}.</p>" if drawn is None else drawn

    def compiled(self, specification: dict[str, Any]) -> dict[str, Any] | None:
        """Compile a Vega-Lite plot to Vega, which the library in a page draws; None if that fails."""
        compiled: dict[str, Any] | None = self._ask("vegalite_to_vega", specification)
        return compiled

    def library(self) -> str | None:
        """Return Vega as one self-contained script; None if that fails."""
        if Vega._library is None:
            script: str | None = self._ask("javascript_bundle", "window.vegaEmbed = vegaEmbed;")
            Vega._library = None if script is None else script.replace("</script", "<\\/script")
        return Vega._library

    def _ask(self, function: str, argument: Any) -> Any:
        """Call a function of vl-convert in the child process."""
        with self._lock:
            process = self._process
            if process is None:
                return None
            assert process.stdin is not None
            assert process.stdout is not None
            waiting = select.poll()
            waiting.register(process.stdout, select.POLLIN)
            try:
                process.stdin.write(json.dumps([function, argument]).encode() + b"\n")
                process.stdin.flush()
                if not waiting.poll(_SECONDS_TO_ANSWER * 1000):
                    self._fail(f"drawing one took more than {_SECONDS_TO_ANSWER} s")
                    return None
                answer = json.loads(process.stdout.readline())
            except (BrokenPipeError, ValueError):  # no answer, or half of one
                try:
                    code = process.wait(_SECONDS_TO_END)
                except subprocess.TimeoutExpired:
                    self._fail("the process that draws them does not answer as it should")
                else:
                    self._fail(f"the process that draws them ended with exit code {code}, perhaps for lack of memory")
                return None
            if "error" in answer:
                self._note(f"Vega cannot draw them: {answer['error']}")
            return answer.get("result")

    def _note(self, why: str) -> None:
        self.failure = self.failure or f"plots are missing, because {why}"

    def _fail(self, why: str) -> None:
        """Record why plots are missing, and stop the child process."""
        self._note(why)
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _serve() -> None:
    """Answer requests from stdin, one per line."""
    import vl_convert

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # prints of libraries must not look like answers
    for line in sys.stdin.buffer:
        function, argument = json.loads(line)
        try:
            answer = {"result": getattr(vl_convert, function)(argument, vl_version=_VERSION)}
        except Exception as error:  # vl-convert raises ValueError, but does not promise it
            answer = {"error": " ".join(str(error).split())}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
