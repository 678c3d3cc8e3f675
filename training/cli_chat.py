"""`python -m training chat`: base and tuned answer in a terminal, once or question after question."""

import argparse
import json
import sys
from typing import Any

from curation.cli_frame import Answer as Report
from curation.cli_frame import workspace_of
from curation.cli_output import Bar, visible
from curation.errors import WrongInput
from training.chat import BOUNDS, TUNED, Answer, Chat, Sampling, check_question, said

OPTIONS = {
    "max_new_tokens": "of each answer",
    "temperature": "0 is greedy: always the likeliest token",
    "top_p": "choose among the likeliest tokens that have this probability together",
    "random_seed": "of both answers alike; counts when the temperature is above 0",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="RUN")
    parser.add_argument("--prompt", metavar="TEXT", help="ask this and end (else: question after question)")
    parser.add_argument("--input", metavar="TEXT", default="", help="what the instruction is about")
    own = Sampling()
    for name, about in OPTIONS.items():
        value = getattr(own, name)
        least, most = BOUNDS[name]
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, metavar="N",
            help=f"{about} ({said(least)} to {said(most)}; default {said(value)})",
        )  # fmt: skip


def chat(args: argparse.Namespace, bar: Bar) -> Report:
    """Ask once with --prompt, else until Ctrl-D. Raises WrongInput before anything is loaded where it can."""
    sampling = Sampling(**{name: getattr(args, name) for name in OPTIONS})
    if args.prompt is not None:
        check_question(args.prompt, args.input)
    loaded = Chat.load(workspace_of(args), args.name, bar)
    bar.close()
    if args.prompt is not None:
        return Report({"run": args.name, **_asked(loaded, args.prompt, args.input, sampling)})
    return Report({"run": args.name, "questions": _loop(loaded, args, sampling)})


def _asked(loaded: Chat, prompt: str, input: str, sampling: Sampling) -> dict[str, Any]:
    answers = [one for one in loaded.answers(prompt, input, sampling) if isinstance(one, Answer)]
    return {one.side: one.told() for one in answers}


def _loop(loaded: Chat, args: argparse.Namespace, sampling: Sampling) -> int:
    """Answer a line at a time. Ctrl-C ends an answer, Ctrl-D the conversation. Gives how many were asked."""
    if sys.stdin.isatty():
        sys.stderr.write("Each question stands alone: the recipes train single turns. Ctrl-D ends.\n")
    asked = 0
    while (line := _line()) is not None:
        if not line.strip():
            continue
        try:
            if args.json:
                print(json.dumps(_asked(loaded, line, args.input, sampling), ensure_ascii=False), flush=True)
            else:
                _stream(loaded, line, args.input, sampling)
            asked += 1
        except KeyboardInterrupt:
            print("\n(stopped)")
        except WrongInput as error:  # the next question may be a better one
            sys.stderr.write(f"winnow: {visible(str(error))}\n")
    return asked


def _line() -> str | None:
    """Read a question; None at the end of the input."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def _stream(loaded: Chat, line: str, input: str, sampling: Sampling) -> None:
    """Print pieces as they come, control characters as marks, and under each answer what it took."""
    side = None
    for one in loaded.answers(line, input, sampling):
        if one.side != side:
            side = one.side
            print(f"[{f'tuned: {loaded.run.name}' if side == TUNED else side}]")
        if isinstance(one, Answer):
            rate = f", {one.rate:,} a second" if one.rate else ""
            print(f"\n({one.tokens:,} tokens{rate}; ended by {one.ended})\n", flush=True)
        else:
            print(visible(one.text), end="", flush=True)
