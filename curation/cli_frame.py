"""The frame of a command line: words in, an answer out, one line for whatever is wrong, and an exit status.

`python -m curation` and `python -m training` share it.
"""

import argparse
import errno
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from curation.cli_output import Bar, tell, visible
from curation.errors import CurationError
from curation.teacher_key import HideKeys, without_keys
from curation.workspace import Workspace

WORKSPACE_VARIABLE = "WINNOW_WORKSPACE"
log = logging.getLogger(__name__)


@dataclass
class Answer:
    """What a command has to say."""

    report: dict[str, Any]
    warnings: Sequence[str] = ()


Command = Callable[[argparse.Namespace, Bar], Answer]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"winnow: {message} (see `{self.prog} --help`)\n")


def run(parser: Parser, arguments: Sequence[str] | None = None) -> int:
    """Run the command that the words name. Gives 0 when done, 2 when the input was wrong, 1 if it failed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter
    args = parser.parse_args(_readable(sys.argv[1:] if arguments is None else arguments))
    bar = Bar()
    try:
        answer = args.run(args, bar)
    except CurationError as error:
        return _fail(bar, str(error), error.exit_status)
    except KeyboardInterrupt:
        return _fail(bar, "stopped; what was finished is kept, run the same command to go on", 1)
    except BrokenPipeError:
        return 1
    except OSError as error:
        return _fail(bar, *_about_file(error))
    except Exception as error:  # the last door: a person gets a line, the log gets the rest
        return _fail(bar, _unexpected(args, error), 1)
    bar.close()
    for warning in answer.warnings:
        sys.stderr.write(f"winnow: note: {visible(warning)}\n")
    return _print(args, answer)


def _readable(words: Sequence[str]) -> Sequence[str]:
    """Refuse words that are no text: they could not be stored or written anywhere."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            sys.stderr.write(f"winnow: {word!a} is not UTF-8; rename the file, or write the word otherwise\n")
            raise SystemExit(2) from None
    return words


def _print(args: argparse.Namespace, answer: Answer) -> int:
    try:
        if args.json:
            print(json.dumps(answer.report, ensure_ascii=False))
        else:
            tell(args.command, answer.report)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing more to say
        return 1
    return 0


def _fail(bar: Bar, message: str, status: int) -> int:
    bar.close()
    sys.stderr.write(f"winnow: {visible(without_keys(' '.join(message.split())))}\n")
    return status


def _about_file(error: OSError) -> tuple[str, int]:
    """Say what is wrong with a file or the disk, and whose doing it is."""
    reason = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return f"{reason}{where}; nothing acknowledged was lost, make room and run the command again", 1
    return f"{reason}{where}; give another file or folder", 2


def _unexpected(args: argparse.Namespace, error: Exception) -> str:
    line = f"something unexpected went wrong ({type(error).__name__}: {error})"
    try:
        file = folder_of(args) / "logs" / "errors.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.addFilter(HideKeys())
        log.addHandler(handler)
        log.propagate = False
        log.error("%s", args.command, exc_info=error)
    except OSError:
        return line
    return f"{line}; the details are in {file}"


def marks_of(result: Any) -> dict[str, bool]:
    """Say how a stage came to its result (see `stage.StageResult`)."""
    return {"unchanged": result.unchanged, "attached": result.attached}


def folder_of(args: argparse.Namespace) -> Path:
    return Path(args.workspace or os.environ.get(WORKSPACE_VARIABLE) or "workspace")


def workspace_of(args: argparse.Namespace) -> Workspace:
    return Workspace(folder_of(args))


def add_command(commands: Any, name: str, help: str, run: Command) -> argparse.ArgumentParser:
    """Add a command with the options that all have."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    parser.add_argument(
        "--workspace",
        metavar="DIR",
        help=f"where everything is kept (default: {WORKSPACE_VARIABLE}, else workspace/)",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    parser.set_defaults(run=run)
    return parser
