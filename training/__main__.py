"""`python -m training`: train on a frozen version, from the terminal."""

import sys


def run() -> int:
    """Run one command; Ctrl-C while the modules load is no reason for a traceback either."""
    try:
        from training.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("winnow: stopped\n")
        return 1


if __name__ == "__main__":
    sys.exit(run())
