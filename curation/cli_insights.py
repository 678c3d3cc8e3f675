"""The command `insights`: what the rows are like, beside a benchmark."""

import argparse
from typing import Any

from curation.cli_frame import Answer, add_command, marks_of, workspace_of
from curation.cli_output import Bar


def _insights(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.insights import CAVEAT, Settings, insights

    settings = Settings(args.benchmark, tuple(args.sets), not args.no_categories, args.model)
    result = insights(workspace_of(args), settings, bar)
    notes = [CAVEAT] if "published_means" in result.report else []
    if result.report["categories"] is not None:
        notes.append(
            f"categories are the nearest of ten by {args.model}; Magicoder's figure used INSTRUCTOR, so its "
            "shares are not comparable"
        )
    return Answer({**result.report, **marks_of(result)}, notes)


def add_insights_command(commands: Any) -> None:
    """Add `insights` to the commands."""
    parser = add_command(
        commands,
        "insights",
        "measure rows: words shared with a benchmark, tokens, categories, languages",
        _insights,
    )
    parser.add_argument(
        "--benchmark", default="", metavar="NAME[=FILE]",
        help="what words are compared with (default: humaneval if it was loaded before, else pystdlib)",
    )  # fmt: skip
    parser.add_argument("--set", dest="sets", action="append", default=[], metavar="NAME",
                        help="only this set; once for each (default: all)")  # fmt: skip
    parser.add_argument("--no-categories", action="store_true",
                        help="leave out the categories, which need a vector of each solution")  # fmt: skip
    parser.add_argument("--model", default="all-MiniLM-L6-v2",
                        help="sentence-transformers model of the categories, by name or folder")  # fmt: skip
