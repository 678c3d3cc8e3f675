"""The words of `python -m jobs`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from curation.errors import CurationError
from curation.workspace import Workspace
from jobs.alive import folder_of
from jobs.child import run_child
from jobs.commands import after, show_list, stop
from jobs.worker import IDLE_SECONDS, work


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `python -m jobs`. Gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jobs", description="Long work in the background.")
    parser.add_argument("command", choices=("list", "stop", "after", "work", "run"))
    parser.add_argument("--workspace", metavar="DIR", help="default: WINNOW_WORKSPACE, else workspace/")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds a worker waits for work")
    parser.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    folder = folder_of(Path(args.workspace or os.environ.get("WINNOW_WORKSPACE") or "workspace"))
    try:
        if args.command == "run":
            return run_child(folder)
        if args.command == "work":
            return work(Workspace(folder).folder, args.idle, args.lock)
        return {"list": show_list, "stop": stop, "after": after}[args.command](folder)
    except CurationError as error:
        sys.stderr.write(f"jobs: {error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
