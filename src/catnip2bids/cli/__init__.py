"""The command line: what people type, and what they see. Nobody else imports it."""

from catnip2bids.cli.app import main

__all__ = ["main"]
