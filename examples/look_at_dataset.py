"""Draw the report, and open the viewer."""

import urllib.request
from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

DATASET = Path("dataset")
catnip2bids.package(COHORT, DATASET, voxel_size_um=(3.7, 3.7, 5.0))  # a moment, if it is there

print(catnip2bids.report(DATASET))  # pages that open without a server or a network

# served from this machine, as long as it is open; webbrowser.open(viewing.url) and viewing.wait() would do, too
with catnip2bids.view(DATASET) as viewing, urllib.request.urlopen(viewing.url) as page:
    print(f"{viewing}: answers with {page.status}")
