"""A made-up cohort of two brains in CATNIP's output formats, to try and test the package without real data."""

from catnip2bids.demo.cell_list import write_cell_list
from catnip2bids.demo.cohort import RunSpec, write_cohort, write_run
from catnip2bids.demo.make_demo import run_demo, write_demo_cohort
from catnip2bids.demo.regions import write_atlas_table

__all__ = [
    "RunSpec",
    "run_demo",
    "write_atlas_table",
    "write_cell_list",
    "write_cohort",
    "write_demo_cohort",
    "write_run",
]
