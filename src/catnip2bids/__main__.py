"""The program: `python -m catnip2bids` is the same as `catnip2bids`.

Invariant: Ctrl-C never shows a traceback, from the first line of this module until the program ends.
"""

import sys

_INTERRUPTED = 130  # 128 + SIGINT, as in `interruption`

if sys.platform == "win32":
    sys.stderr.write("error: catnip2bids does not run on Windows; install it in WSL, the Windows Subsystem for Linux\n")
    sys.exit(2)

try:
    import gc

    from catnip2bids.interruption import ending_when_interrupted
    from catnip2bids.standard_streams import reporting_stream_errors, use_utf8
except KeyboardInterrupt:
    sys.exit(_INTERRUPTED)


def main() -> None:
    """Run the command line."""
    try:
        use_utf8()
        with reporting_stream_errors(), ending_when_interrupted():
            from catnip2bids.cli import main as run  # late: somebody may press Ctrl-C while all this is loaded

            try:
                run()
            finally:
                gc.freeze()  # the end of Python would look through all that libraries made, for 50 ms
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
