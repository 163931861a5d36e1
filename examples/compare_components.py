"""How two components differ, plane by plane, with a page to look at."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

run = catnip2bids.scan(COHORT).runs[0].folder
labels, masked = run / "atlaslabel_def_origspace", run / "atlaslabel_def_origspace_masked"

compared = catnip2bids.compare(labels, masked, "comparison")
print(compared)
print(f"relation of the second to the first: {compared.relation}")
print(compared.items[0])
print("look at comparison/index.html")
