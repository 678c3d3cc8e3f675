"""The command line of training: the same functions as the page and the worker call."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curation.cli_output import Bar, tell, visible
from curation.errors import CurationError
from curation.workspace import Workspace
from training import run as runs
from training.recipes import RECIPES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Gives 0 when it is done, 2 when the input was wrong, 1 when it failed."""
    args = _parser().parse_args(arguments)
    bar = Bar()
    try:
        folder = args.workspace or os.environ.get("WINNOW_WORKSPACE") or "workspace"
        report = args.run(Workspace(Path(folder)), args, bar)
    except CurationError as error:
        return _fail(bar, str(error), error.exit_status)
    except KeyboardInterrupt:
        return _fail(bar, "stopped; what was finished is kept, `resume RUN` goes on", 1)
    except OSError as error:
        return _fail(bar, f"{error.strerror or error} ({error.filename or folder}); mend it and go on", 1)
    bar.close()
    if args.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        tell(args.command, report)
    return 0


def _fail(bar: Bar, message: str, status: int) -> int:
    bar.close()
    sys.stderr.write(f"winnow: {visible(message)}\n")
    return status


def _practice_base(workspace: Workspace, args: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    from training.practice_base import practice_base

    return practice_base(workspace, show=bar, again=args.again)


def _train(workspace: Workspace, args: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    from training.lora import launch, train

    run = launch(
        workspace, args.version, args.recipe, args.base_model, args.method, dict(args.set), args.name
    )
    return train(workspace, run.name, bar)


def _resume(workspace: Workspace, args: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    from training.lora import train

    return train(workspace, runs.reopen(workspace, args.name).name, bar)


def _stop(workspace: Workspace, args: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    run = runs.stop(workspace, args.name, args.discard)
    return {"run": run.name, "state": run.state, "discard": args.discard}


def _runs(workspace: Workspace, args: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    return {"runs": [_told(run) for run in runs.runs(workspace)]}


def _told(run: runs.LoraRun) -> dict[str, Any]:
    frozen, result = run.frozen, run.result or {}
    return {
        "run": run.name, "state": run.state, "version": frozen["version"], "recipe": frozen["recipe"],
        "base_model": frozen["base_model"]["name"], "step": runs.last_step(run),
        "steps": run.data.get("steps"), "eval_loss": result.get("eval_loss"),
        "reason": (run.failure or {}).get("reason"),
    }  # fmt: skip


def _merge(workspace: Workspace, args: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    from training.merge import merge

    return merge(workspace, args.name, Path(args.to), bar)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train on a frozen version.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = _command(commands, "practice-base", "make the base named practice from code on this machine",
                   _practice_base)  # fmt: skip
    one.add_argument("--again", action="store_true", help="make it anew although it is there")
    one = _command(commands, "train", "train a version to an adapter", _train)
    one.add_argument("version", metavar="VERSION")
    one.add_argument("--method", choices=("lora", "full"), help="default: the recipe's own")
    one.add_argument("--recipe", choices=tuple(RECIPES), default="practice")
    one.add_argument("--base-model", default="practice", metavar="NAME_OR_PATH_OR_RUN",
                     help="practice (default), a folder, a run to go on from, or OWNER/NAME")  # fmt: skip
    one.add_argument("--name", metavar="NAME", help="the run's name (default: VERSION-RECIPE-NUMBER)")
    one.add_argument("--set", action="append", default=[], type=_change, metavar="SETTING=VALUE",
                     help="change a setting of the recipe, e.g. --set max_steps=50")  # fmt: skip
    for name, about, run in (
        ("resume", "go on with a stopped, failed or interrupted run", _resume),
        ("stop", "end a run after its current step and keep its weights", _stop),
        ("merge", "write base and adapter as one model", _merge),
    ):
        one = _command(commands, name, about, run)
        one.add_argument("name", metavar="RUN")
        if name == "stop":
            one.add_argument("--discard", action="store_true", help="throw the weights away; curves stay")
        if name == "merge":
            one.add_argument("--to", required=True, metavar="DIR")
    _command(commands, "runs", "list the runs", _runs)
    return parser


def _command(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    one.add_argument("--workspace", metavar="DIR")
    one.add_argument("--json", action="store_true", help="the last line of output is one JSON object")
    one.set_defaults(run=run)
    return one


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text} is not SETTING=VALUE")
    return name, value
