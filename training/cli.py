"""The command line of training: the same functions as the page and the worker call."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curation import cli_frame
from curation.cli_frame import Answer, Parser, add_command, workspace_of
from curation.cli_output import Bar
from curation.errors import WrongInput
from training import cli_chat
from training import run as runs
from training.processes import VARIABLE
from training.recipes import CHOICES, RECIPES
from training.settings_file import LARGEST, Asked, read_yaml


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Gives 0 when it is done, 2 when the input was wrong, 1 when it failed."""
    return cli_frame.run(_parser(), arguments)


def _practice_base(args: argparse.Namespace, bar: Bar) -> Answer:
    from training.practice_base import practice_base

    return Answer(practice_base(workspace_of(args), show=bar, again=args.again))


def _train(args: argparse.Namespace, bar: Bar) -> Answer:
    from training.lora import launch, train

    workspace = workspace_of(args)
    asked = _asked(args)
    if asked.version is None:
        raise WrongInput("Name the VERSION to train on, or give --settings FILE that does")
    run = launch(
        workspace, asked.version, asked.recipe or "practice", asked.base or "practice", asked.method,
        asked.changes, args.name,
    )  # fmt: skip
    return _trained(train(workspace, run.name, bar, args.processes))


def _asked(args: argparse.Namespace) -> Asked:
    """Put together what the file of settings asks for, and what the command line says beyond it."""
    written = read_yaml(_text_of(args.settings)) if args.settings else Asked()
    other = args.recipe not in (None, written.recipe)  # a file's changes are of its own recipe
    return Asked(
        args.version or written.version,
        args.recipe or written.recipe,
        args.base_model or written.base,
        args.method or (None if other else written.method),
        {**({} if other else written.changes), **dict(args.set)},
    )


def _text_of(file: Path) -> str:
    if file.exists() and not file.is_file():
        raise WrongInput(f"{file} is no file of text; give --settings one that the page Train wrote")
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"{file} cannot be read ({error}); give --settings a file of text") from error


def _resume(args: argparse.Namespace, bar: Bar) -> Answer:
    from training.lora import train

    workspace = workspace_of(args)
    return _trained(train(workspace, runs.reopen(workspace, args.name).name, bar, args.processes))


def _trained(report: dict[str, Any]) -> Answer:
    return Answer(report, report.get("machine", {}).get("notes", ()))


def _stop(args: argparse.Namespace, bar: Bar) -> Answer:
    run = runs.stop(workspace_of(args), args.name, args.discard)
    return Answer({"run": run.name, "state": run.state, "discard": args.discard})


def _runs(args: argparse.Namespace, bar: Bar) -> Answer:
    workspace = workspace_of(args)
    return Answer({"runs": [_told(run) for run in runs.runs(workspace)]}, warnings=runs.damaged(workspace))


def _told(run: runs.LoraRun) -> dict[str, Any]:
    frozen, result = run.frozen, run.result or {}
    return {
        "run": run.name, "state": run.state, "version": frozen["version"], "recipe": frozen["recipe"],
        "base_model": frozen["base_model"]["name"], "step": runs.last_step(run),
        "steps": run.data.get("steps"), "eval_loss": result.get("eval_loss"),
        "reason": (run.failure or {}).get("reason"),
    }  # fmt: skip


def _merge(args: argparse.Namespace, bar: Bar) -> Answer:
    from training.merge import merge

    return Answer(merge(workspace_of(args), args.name, Path(args.to), bar))


def _push(args: argparse.Namespace, bar: Bar) -> Answer:
    from training.push import push

    return Answer(
        push(workspace_of(args), args.name, args.repository, not args.public, args.merged, show=bar)
    )


def _chat(args: argparse.Namespace, bar: Bar) -> Answer:
    return cli_chat.chat(args, bar)


def _parser() -> Parser:
    parser = Parser(prog="python -m training", description="Train on a frozen version.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    about = "make the base named practice from code on this machine"
    one = add_command(commands, "practice-base", about, _practice_base)
    one.add_argument("--again", action="store_true", help="make it anew although it is there")
    one = add_command(commands, "train", "train a version to an adapter", _train)
    one.add_argument("version", nargs="?", metavar="VERSION")
    one.add_argument("--method", choices=CHOICES["method"], help="default: the recipe's own")
    one.add_argument("--recipe", choices=tuple(RECIPES), help="default: practice")
    one.add_argument("--base-model", metavar="NAME_OR_PATH_OR_RUN",
                     help="practice (default), a folder, a run to go on from, or OWNER/NAME")  # fmt: skip
    one.add_argument("--settings", type=Path, metavar="FILE",
                     help="settings as the page Train writes them (YAML); flags count more")  # fmt: skip
    one.add_argument("--name", metavar="NAME", help="the run's name (default: VERSION-RECIPE-NUMBER)")
    one.add_argument("--set", action="append", default=[], type=_change, metavar="SETTING=VALUE",
                     help="change a setting of the recipe, e.g. --set max_steps=50")  # fmt: skip
    _add_processes(one)
    for name, about, run in (
        ("resume", "go on with a stopped, failed or interrupted run", _resume),
        ("stop", "end a run after its current step and keep its weights", _stop),
        ("merge", "write base and adapter as one model", _merge),
        ("push", "put a run's result, with its card, on the Hugging Face hub (needs HF_TOKEN)", _push),
    ):
        one = add_command(commands, name, about, run)
        one.add_argument("name", metavar="RUN")
        if name == "resume":
            _add_processes(one)
        if name == "stop":
            one.add_argument("--discard", action="store_true", help="throw the weights away; curves stay")
        if name == "merge":
            one.add_argument("--to", required=True, metavar="DIR")
        if name == "push":
            one.add_argument("repository", metavar="OWNER/NAME")
            one.add_argument("--public", action="store_true", help="everybody may read it (default: private)")
            one.add_argument("--merged", action="store_true", help="push base and adapter as one model")
    one = add_command(commands, "chat", "ask the base model and the run the same thing", _chat)
    cli_chat.add_options(one)
    add_command(commands, "runs", "list the runs", _runs)
    return parser


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes", type=_number, metavar="N",
        help=f"train in N processes by accelerate launch (default: {VARIABLE}, else one a GPU); "
        "the batch stays the recipe's",
    )  # fmt: skip


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of processes")
    return int(text)


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text} is not SETTING=VALUE")
    return name, value
