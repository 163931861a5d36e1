"""The command line: what people type, and what they see. Nobody else imports it."""

from catnip2bids.cli.commands import main

__all__ = ["main"]
