"""The commands about what a teacher wrote: `replies parse-again` and `judge`."""

import argparse
import os
from typing import Any

from curation.cli_frame import Answer, Parser, add_command, marks_of, workspace_of
from curation.cli_generate import MODEL_VARIABLE, TEACHER, add_budget, add_teacher
from curation.cli_output import Bar


def _parse_again(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.parse_again import parse_again

    report = parse_again(workspace_of(args), args.generation, bar)
    stay = sum(report["would_reject"].values())
    note = f"{stay:,} samples could not be read today; they stay as they are, the report names some"
    return Answer(report, [note] if stay else [])


def _judge(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.judge import Settings, judge
    from curation.teacher_key import key_from_environment, why_no_key

    given = {name: value for name in (*TEACHER, "limit") if (value := getattr(args, name)) is not None}
    settings = Settings(
        model=args.model or os.environ.get(MODEL_VARIABLE, ""), base_url=args.base_url or "",
        name=args.name, method=args.method, ids=tuple(args.id), repair=not args.no_repair,
        send_seed=not args.no_seed, **given,
    )  # fmt: skip
    key = key_from_environment(settings.endpoint)
    result = judge(workspace_of(args), settings, key, bar)
    paused = result.report.get("paused")
    notes = [
        *([] if key else [why_no_key(settings.endpoint)]),
        *result.warnings,
        *([paused] if paused else []),
    ]
    return Answer({**result.report, **marks_of(result)}, notes)


def add_judge_commands(commands: Any) -> None:
    """Add `replies` and `judge` to the commands."""
    family: argparse.ArgumentParser = commands.add_parser(
        "replies", help="what a teacher wrote, as it came: `replies parse-again`"
    )
    actions = family.add_subparsers(dest="action", required=True, metavar="parse-again", parser_class=Parser)
    about = "read every reply again by the parser of today, without a call; what is kept stays"
    parser = add_command(actions, "parse-again", about, _parse_again)
    parser.add_argument("--generation", metavar="ID", help="only the replies of this one (default: of all)")
    _add_judge(commands)


def _add_judge(commands: Any) -> None:
    about = "optional: a model scores samples by a rubric; it drops nothing"
    parser = add_command(commands, "judge", about, _judge)
    parser.add_argument("--name", help="only samples of this set")
    parser.add_argument("--method", help="only samples that were made so, such as oss-instruct")
    parser.add_argument(
        "--id", action="append", default=[], metavar="ID", help="this sample, in full; once for each"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="samples to judge, in order (default all)")
    add_teacher(parser, most_tokens=500)
    add_budget(parser)
