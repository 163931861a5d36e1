"""The command line: the commands, and everything that is printed. No other package imports it."""

from catnip2bids.cli.app import main

__all__ = ["main"]
