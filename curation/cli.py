"""The command line: words in, one call of the function that the pages call too, words or JSON out."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curation import cli_frame
from curation.cli_evolve import add_evolve_commands
from curation.cli_frame import Answer, Parser, add_command, folder_of, marks_of, workspace_of
from curation.cli_generate import add_generate_commands
from curation.cli_insights import add_insights_command
from curation.cli_judge import add_judge_commands
from curation.cli_output import Bar
from curation.cli_samples import add_word_commands
from curation.cli_seeds import add_seed_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Gives 0 when it is done, 2 when the input was wrong, 1 when it failed."""
    return cli_frame.run(_parser(), arguments)


# --- commands: each imports what it needs, so that --help answers at once ---


def _import(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.formats import FieldMap
    from curation.import_samples import Settings, import_samples

    fields = FieldMap(args.instruction, args.input, args.response)
    settings = Settings(args.name, args.licence, fields, args.round, args.parents)
    result = import_samples(workspace_of(args), args.file, settings, bar)
    notes = [*result.warnings, *_bad_rows(args.file, result.report)]
    return Answer({**result.report, **marks_of(result), "warnings": result.warnings}, notes)


def _bad_rows(file: str, report: dict[str, Any]) -> list[str]:
    """Name the rows that could not be used, each with its place and what is wrong."""
    told = [
        f"{file}, {'row' if bad['line'] is None else 'line'} "
        f"{bad['row'] if bad['line'] is None else bad['line']}: {bad['message']}"
        for bad in report["bad_rows"]
    ]
    more = sum(report["rejected"].values()) - len(told)
    return [*told, f"{more:,} more rows could not be used"] if more else told


def _clean(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.clean import clean

    result = clean(workspace_of(args), args.rule, bar)
    return Answer({**result.report, **marks_of(result)})


def _near_duplicates(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation import near_duplicates as step

    settings = _near_duplicate_settings(args)
    workspace = workspace_of(args)
    result = step.near_duplicates(workspace, settings, bar)
    report = {**result.report, **marks_of(result)}
    if args.pairs is not None:
        strict = settings.preset == "notebook"
        report["listed"] = step.write_pairs(
            workspace, result.run_id, settings.threshold, strict, Path(args.pairs)
        )
        report["file"] = args.pairs
    notes = [*_no_drafts(result.report), *_cut_short(result.report), *result.report["alarms"]]
    return Answer(report, notes)


def _near_duplicate_settings(args: argparse.Namespace) -> Any:
    from curation.pair_settings import settings_from

    names = (
        "threshold",
        "floor",
        "text",
        "keep",
        "sources",
        "budget",
        "model",
        "preset",
        "opinions",
        "draft",
    )
    low, high = args.ask or (None, None)
    return settings_from({name: getattr(args, name) for name in names} | {"ask_low": low, "ask_high": high})


def _no_drafts(report: dict[str, Any]) -> list[str]:
    if "draft_pace" not in report:
        return []
    return [
        f"--draft brings nothing on this machine: bfloat16 took {report['draft_pace']:.1f} times the seconds "
        "of float32 on a few lines, and rows near a deciding cosine need both; so everything was embedded in "
        "float32"
    ]


def _cut_short(report: dict[str, Any]) -> list[str]:
    if not report.get("cut_short"):
        return []
    return [
        f"{report['cut_short']:,} of {report['samples']:,} rows were compared "
        "on their first 256 word pieces only"
    ]


def _decontaminate(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation import decontaminate as step

    low, high = args.band or (step.Settings.low, step.Settings.high)
    settings = step.Settings(
        tuple(args.benchmark), tuple(args.detectors.split(",")), low, high, args.budget, args.model
    )
    workspace = workspace_of(args)
    result = step.decontaminate(workspace, settings, bar)
    report = {**result.report, **marks_of(result)}
    if args.matches is not None:
        report["listed"] = step.write_matches(workspace, result.run_id, Path(args.matches))
        report["file"] = args.matches
    return Answer(report, result.warnings)


def _judge_pair(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation import review
    from curation.pair_verdict import judge_pair

    workspace = workspace_of(args)
    voted = judge_pair(workspace, args.left, args.right, args.verdict, args.person, args.note)
    said = {"item": voted.item, "changed": voted.changed, "message": voted.message}
    return Answer({**said, **review.counts(workspace)})


def _review(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation import review

    workspace = workspace_of(args)
    report: dict[str, Any] = {}
    if args.action == "list":
        report["items"] = review.items(workspace, args.state, args.limit)
    elif args.action in ("vote", "undo"):
        voted = (
            review.vote(workspace, args.item, args.verdict, args.person, args.note)
            if args.action == "vote"
            else review.undo(workspace, args.person, args.item)
        )
        report |= {"item": voted.item, "changed": voted.changed, "message": voted.message}
    elif args.action == "export":
        report |= {"file": args.file, "votes": review.export_votes(workspace, Path(args.file))}
    else:
        report |= review.import_votes(workspace, Path(args.file))
    return Answer({**report, **review.counts(workspace)})


def _rescue(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.review import rescue

    done = rescue(workspace_of(args), args.id, args.person, args.stage, args.undo)
    return Answer({"sample": done.item, "message": done.message})


def _assemble(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.assemble import Settings, assemble

    result = assemble(
        workspace_of(args),
        args.name,
        Settings(args.size, args.open, args.validation, args.evolution, args.through_round),
        bar,
    )
    warnings = (
        []
        if result.report["contamination_checked"]
        else ["contamination was not checked; run `decontaminate` before you report scores"]
    )
    return Answer({**result.report, **marks_of(result)}, warnings)


def _export(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.export import export

    done = export(workspace_of(args), args.name, args.format, args.files, Path(args.to))
    return Answer({**done.report, "to": args.to, "unchanged": done.unchanged})


def _example(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.example import example

    result = example(workspace_of(args), args.rows, bar)
    return Answer({**result.report, **marks_of(result)})


def _explain(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.explain import explain

    return Answer(explain(workspace_of(args), args.id))


def _status(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.status import status

    return Answer(status(workspace_of(args)))


def _backup(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.backup import backup
    from curation.status import status

    workspace = workspace_of(args)
    done = backup(workspace, Path(args.file))
    return Answer({**done, "stages": status(workspace)["stages"]})


def _restore(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.backup import restore
    from curation.status import status

    done = restore(folder_of(args), Path(args.file))
    return Answer({**done, "stages": status(workspace_of(args))["stages"]})


# --- words ---


def _parser() -> Parser:
    parser = Parser(
        prog="python -m curation",
        description="Curate code-instruction data: import, clean, compare, review, freeze, export.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for add in (
        add_seed_commands,
        add_generate_commands,
        add_evolve_commands,
        add_judge_commands,
        _add_import,
        _add_clean,
        _add_near,
        _add_decontaminate,
        add_insights_command,
        _add_review,
        _add_assemble,
        _add_rest,
    ):
        add(commands)
    return parser


def _add_import(commands: Any) -> None:
    family: argparse.ArgumentParser = commands.add_parser(
        "samples", help="instruction data: import a file; accept, reject or edit a sample"
    )
    actions = family.add_subparsers(
        dest="action", required=True, metavar="import|word|edit", parser_class=Parser
    )
    parser = add_command(
        actions, "import", "import instruction data; bad rows are listed, the rest is kept", _import
    )
    parser.add_argument("file", metavar="FILE", help="JSON, JSONL or Parquet, also .gz; or hf:NAME[:SPLIT]")
    parser.add_argument("--name", type=_word, help="label of the set (default: the file's name)")
    parser.add_argument("--licence", metavar="SPDX", help="licence of the rows, such as MIT or CC-BY-NC-4.0")
    for field in ("instruction", "input", "response"):
        parser.add_argument(
            f"--{field}", metavar="F", help=f"column that holds the {field}, when it is not recognised"
        )
    parser.add_argument("--round", type=int, metavar="N",
                        help="the rows are round N of evolving another set: see --parents")  # fmt: skip
    parser.add_argument("--parents", metavar="NAME", help="the set that they were evolved from")
    add_word_commands(actions)


def _add_clean(commands: Any) -> None:
    parser = add_command(commands, "clean", "drop exact duplicates", _clean)
    parser.add_argument("--rule", choices=("platypus", "magicoder"), default="platypus",
                        help="platypus: equal instruction and input, longest response stays; "
                        "magicoder: seed, problem or solution seen before")  # fmt: skip


def _add_near(commands: Any) -> None:
    parser = add_command(
        commands,
        "near-duplicates",
        "find look-alikes, keep one of each, ask about the gray ones",
        _near_duplicates,
    )
    parser.add_argument("--threshold", type=_share, help="cosine from which a pair counts (default 0.8)")
    parser.add_argument("--floor", type=_share, help="cosine from which pairs are stored (default 0.7)")
    parser.add_argument(
        "--text",
        choices=("instruction", "response", "all"),
        help="what is compared (default instruction, with input)",
    )
    parser.add_argument(
        "--keep",
        choices=("longest", "first", "source", "licence", "judge"),
        help="who stays (default longest response); source: the one named first in --sources; licence: "
        "allowed ones before others, unknown last; judge: the highest score. Ties: the longest response",
    )
    parser.add_argument("--sources", type=_words, metavar="A,B", help="sources or sets, the best first")
    parser.add_argument(
        "--budget",
        type=int,
        help="pairs that people are asked about (default 500); disputed pairs come on top",
    )
    parser.add_argument(
        "--model",
        type=_word,
        help="sentence-transformers model by name or folder (default all-MiniLM-L6-v2, bundled; "
        "for other languages paraphrase-multilingual-MiniLM-L12-v2)",
    )
    parser.add_argument(
        "--preset",
        choices=("paper", "notebook"),
        help="Platypus: paper drops >= 0.80 and keeps the longest, "
        "notebook drops > 0.70 and keeps the first; neither asks",
    )
    parser.add_argument(
        "--ask",
        type=_range,
        metavar="LOW:HIGH",
        help="cosines that people are asked about (default 0.80:0.88)",
    )
    parser.add_argument(
        "--draft",
        action="store_true",
        help="embed in bfloat16 first, in float32 only rows of pairs near enough; the same pairs, sooner. "
        "Without --floor nothing below the threshold is stored",
    )
    parser.add_argument(
        "--opinions",
        action="store_true",
        help="compare words and code of the responses, too, and count what repeats; drops nothing",
    )
    parser.add_argument("--pairs", metavar="FILE", help="write every pair >= the threshold as JSON lines")


def _add_decontaminate(commands: Any) -> None:
    parser = add_command(
        commands, "decontaminate", "find rows that give away benchmark tasks", _decontaminate
    )
    parser.add_argument("--benchmark", action="append", required=True, metavar="NAME[=FILE]",
                        help="humaneval, mbpp, ... from a file or the hub, or pystdlib; "
                        "once for each benchmark")  # fmt: skip
    parser.add_argument(
        "--detectors", default="substring,cosine", metavar="A,B", help="substring, cosine (default both)"
    )
    parser.add_argument(
        "--band",
        type=_range,
        metavar="LOW:HIGH",
        help="joint scores that people are asked about (default 0.8:1)",
    )
    parser.add_argument(
        "--budget", type=int, default=500, help="rows that people are asked about (default 500)"
    )
    parser.add_argument(
        "--model",
        type=_word,
        default="all-MiniLM-L6-v2",
        help="sentence-transformers model by name or folder",
    )
    parser.add_argument("--matches", metavar="FILE", help="write every match as JSON lines")


def _add_review(commands: Any) -> None:
    family: argparse.ArgumentParser = commands.add_parser(
        "review", help="the questions for people: list, vote, undo, export, import"
    )
    actions = family.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Parser)
    listing = add_command(actions, "list", "list the questions, most uncertain first", _review)
    listing.add_argument("--state", choices=("open", "settled", "disputed"))
    listing.add_argument("--limit", type=_count, help="list at most so many")
    vote = add_command(actions, "vote", "settle a question", _review)
    vote.add_argument("item", metavar="ITEM", help="ID@VERSION as `review list` prints it")
    vote.add_argument("verdict", metavar="VERDICT",
                      help="keep-both, keep-left, keep-right, drop-both; "
                      "or duplicate, gray-area, different, idiom with :keep or :drop")  # fmt: skip
    vote.add_argument("--note", default="", metavar="T")
    pair = add_command(
        actions, "pair", "decide on any two rows that near-duplicates compared, asked or not", _judge_pair
    )
    pair.add_argument("left", metavar="LEFT", help="id of a sample, or its beginning")
    pair.add_argument("right", metavar="RIGHT", help="id of the other one")
    pair.add_argument("verdict", metavar="VERDICT", help="keep-both, keep-left, keep-right or drop-both")
    pair.add_argument("--note", default="", metavar="T")
    undo = add_command(actions, "undo", "take your newest vote back", _review)
    undo.add_argument("item", metavar="ITEM", nargs="?", help="take back the vote on this item instead")
    for parser in (vote, pair, undo):
        parser.add_argument(
            "--as", dest="person", type=_word, default="me", metavar="NAME", help="who votes (default: me)"
        )
    for name, help in (("export", "write every vote to a file"), ("import", "add votes from a file")):
        add_command(actions, name, help, _review).add_argument("file", metavar="FILE")


def _add_assemble(commands: Any) -> None:
    parser = add_command(commands, "assemble", "freeze the rows that are left as a version", _assemble)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--through-round", type=int, metavar="N",
                        help="leave out what --evolution made after this round; 0: its seeds")  # fmt: skip
    parser.add_argument("--evolution", metavar="ID", help="which: see `evolution list`")
    parser.add_argument("--size", type=int, default=25_000, help="at most so many rows (default 25000)")
    parser.add_argument(
        "--open",
        choices=("refuse", "keep", "drop"),
        default="refuse",
        help="what happens to open questions (default refuse)",
    )
    parser.add_argument(
        "--validation", type=_share, default=0.02, help="share of rows set aside (default 0.02)"
    )
    parser = add_command(commands, "export", "write a version as files with a card", _export)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--format", required=True, choices=("alpaca", "messages", "prompt-completion", "sharegpt")
    )
    parser.add_argument("--files", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--to", required=True, metavar="DIR")


def _add_rest(commands: Any) -> None:
    parser = add_command(
        commands, "example", "make a set from the code on this machine: no network, no key", _example
    )
    parser.add_argument(
        "--rows", type=int, default=3_000, help="documented functions to begin with (Quick 3000, Full 25000)"
    )
    parser = add_command(commands, "explain", "tell everything known of a row", _explain)
    parser.add_argument("id", metavar="ID")
    parser = add_command(commands, "rescue", "put a dropped row back, as pending for the next stage", _rescue)
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--stage", choices=("clean", "near-duplicates", "decontaminate"))
    parser.add_argument("--undo", action="store_true", help="drop it again")
    parser.add_argument(
        "--as", dest="person", type=_word, default="me", metavar="NAME", help="who says so (default: me)"
    )
    add_command(commands, "status", "count the rows of every stage", _status)
    for name, help, run in (
        ("backup", "write the workspace to one file", _backup),
        ("restore", "unpack a backup into a new workspace", _restore),
    ):
        add_command(commands, name, help, run).add_argument("file", metavar="FILE")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a number between 0 and 1")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def _word(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"{text!r} names nothing between two commas")
    return words


def _range(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text} is not LOW:HIGH, such as 0.80:0.88")
    return _share(low), _share(high)
