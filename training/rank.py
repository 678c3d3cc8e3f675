"""One of several processes that train a run; `accelerate launch` starts them (see training/processes.py).

    python -m accelerate.commands.launch ... -m training.rank --workspace DIR RUN

Up its standard output go lines of JSON: the first process's [what, done, total], and why a process failed.
Everything else that it or a library prints goes to the run's processes.log.
"""

import argparse
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any

from curation.errors import CurationError
from training.processes import LOST


class _Teller:
    """Says how far the work is, and what went wrong, as JSON lines: each in one write, so that none mixes."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out

    def __call__(self, what: str, done: int, total: int) -> None:
        self.say([what, int(done), int(total or 0)])

    def say(self, something: Any) -> None:
        self._out.write(json.dumps(something).encode() + b"\n")
        self._out.flush()


def main() -> None:
    """Train as one of them. A process that failed leaves at once: libraries would wait for the others."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    teller = _Teller(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever libraries print goes to the log
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    try:
        _train(_arguments(), teller)
    except BaseException as error:
        if not isinstance(error, (CurationError, KeyboardInterrupt)):
            traceback.print_exc()
        teller.say(_failure(error))
        sys.stderr.flush()
        os._exit(1)


def _die_with_the_parent() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)  # as sudden as its death may have been; checkpoints survive it


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.rank")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--note", action="append", default=[])
    parser.add_argument("run")
    return parser.parse_args()


def _train(args: argparse.Namespace, teller: _Teller) -> None:
    import torch

    from curation.stage import silent
    from curation.workspace import Workspace
    from training.lora import train_in_team
    from training.team import Team

    team = Team.of_environment()
    if torch.cuda.is_available():
        # Before anything is loaded: from now on "cuda" means this one.
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    show = teller if team.is_first else silent
    train_in_team(Workspace(args.workspace), args.run, team, show, args.note)
    torch.distributed.destroy_process_group()


def _failure(error: BaseException) -> dict[str, Any]:
    """Say what was raised so that the parent can raise it again."""
    if isinstance(error, KeyboardInterrupt):
        return {"kind": "StageCancelled", "message": "Stopped"}
    if isinstance(error, CurationError):
        return {"kind": type(error).__name__, "message": str(error)}
    if isinstance(error, OSError):
        return {
            "kind": "OSError", "message": error.strerror or str(error), "errno": error.errno,
            "file": str(error.filename) if error.filename else None,
        }  # fmt: skip
    if _lost_another(error):
        return {"kind": LOST, "message": str(error)}
    return {"kind": type(error).__name__, "message": str(error)}


def _lost_another(error: BaseException) -> bool:
    """Tell whether an error only says that another process is gone."""
    import torch

    if isinstance(error, torch.distributed.DistError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and ("gloo" in said or "nccl" in said or "closed by peer" in said)


if __name__ == "__main__":
    main()
