"""The commands by which people speak of single samples: `samples word` and `samples edit`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from curation.cli_frame import Answer, add_command, workspace_of
from curation.cli_output import Bar
from curation.errors import WrongInput

TEXTS = ("instruction", "input", "response")


def _word(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.sample_words import say

    said = say(workspace_of(args), args.id, args.word, args.person, args.note)
    return Answer({"sample": said.sample, "changed": said.changed, "message": said.message})


def _edit(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.sample_words import edit

    files = {name: file for name in TEXTS if (file := getattr(args, name)) is not None}
    if not files:
        raise WrongInput("Say what is edited: --instruction FILE, --input FILE or --response FILE")
    if list(files.values()).count("-") > 1:
        raise WrongInput("Only one text can come from standard input; give a file for the others")
    texts = {name: _text(file) for name, file in files.items()}
    said = edit(workspace_of(args), args.id, person=args.person, **texts)
    return Answer({"sample": said.sample, "changed": said.changed, "message": said.message})


def _text(file: str) -> str:
    """Read a text from a file, or standard input ("-"), without the line end that editors put last."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise WrongInput(f"{file} is not UTF-8 ({error.reason} at byte {error.start}); save it so") from error


def add_word_commands(actions: Any) -> None:
    """Add `word` and `edit` to the family `samples`."""
    parser = add_command(actions, "word", "accept or reject a sample before any stage", _word)
    parser.add_argument("id", metavar="ID")
    parser.add_argument("word", choices=("accept", "reject", "none"),
                        help="reject: `clean` drops it; none: take back what was said")  # fmt: skip
    parser.add_argument("--note", default="", metavar="T")
    edit = add_command(actions, "edit", "make a new sample out of one, which is rejected for it", _edit)
    edit.add_argument("id", metavar="ID")
    for name in TEXTS:
        edit.add_argument(f"--{name}", metavar="FILE", help=f"the new {name} (- for standard input)")
    for one in (parser, edit):
        one.add_argument(
            "--as", dest="person", default="me", metavar="NAME", help="who says so (default: me)"
        )
