"""`python -m catnip2bids` is the same as `catnip2bids`."""

from catnip2bids.cli import main

main()
