"""The commands of seeds: harvest a source, write seeds to a file, put a document back."""

import argparse
from pathlib import Path
from typing import Any

from curation.cli_frame import Answer, Parser, add_command, marks_of, workspace_of
from curation.cli_output import Bar
from curation.errors import WrongInput

FACETS = ("language", "source", "licence", "method")


def _add(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.cutting import Policy
    from curation.seeds import Settings, add_seeds

    policy = Policy(args.policy, args.min_lines, args.max_lines, args.random_seed)
    licences = tuple(name for text in args.licences for name in text.split(",") if name)
    settings = Settings(policy, args.per_language, args.total, licences, args.unknown_licences, args.workers)
    result = add_seeds(workspace_of(args), args.source, settings, bar)
    return Answer({**result.report, **marks_of(result)})


def _export(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.atomic import atomic_write
    from curation.seed_export import seeds_as_lines
    from curation.store.seed_browsing import SeedQuery, seed_ids

    if not args.file.strip():
        raise WrongInput("Name the file to write, such as seeds.jsonl")
    workspace = workspace_of(args)
    facets = {name: getattr(args, name) for name in FACETS}
    query = SeedQuery(args.search, lines=line_range(args.lines), sort=args.sort, **facets)
    ids = seed_ids(workspace.database, query)
    if not ids:
        raise WrongInput("No seed fits, so nothing was written; leave a filter out, or harvest some first")
    with atomic_write(Path(args.file).expanduser()) as file:
        file.write(seeds_as_lines(workspace, ids))
    return Answer({"file": args.file, "seeds": len(ids)})


def _rescue(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.rescued_documents import leave_out_again, rescue_document
    from curation.store.documents import at

    workspace = workspace_of(args)
    row = at(workspace.database, args.source, args.path)
    if row is None:
        raise WrongInput(
            f"No harvest read {args.path!r} of {args.source!r}; both stand in the list of documents"
        )
    done = (leave_out_again if args.undo else rescue_document)(workspace, row.seq, args.person)
    return Answer({"document": args.path, "seeds": done.seeds, "message": done.message})


def line_range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    low, dash, high = text.partition("-")
    high = high if dash else low
    if not all(one.isascii() and one.isdigit() and len(one) < 10 for one in (low, high)):
        raise WrongInput(f"--lines {text[:40]} is no number of lines; write 3 or 3-8")
    if int(low) > int(high):
        raise WrongInput(f"--lines {text} begins above its end; write {high}-{low}")
    return int(low), int(high)


# --- words ---


def add_seed_commands(commands: Any) -> None:
    """Add the family `seeds` to the commands."""
    family: argparse.ArgumentParser = commands.add_parser(
        "seeds", help="snippets of code to be inspired by: `seeds add SOURCE`"
    )
    actions = family.add_subparsers(
        dest="action", required=True, metavar="add|export|rescue", parser_class=Parser
    )
    _add_add(actions)
    parser = add_command(actions, "export", "write seeds as JSON lines, each with its origin", _export)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--search", default="", help="words of the snippet, its path or its source")
    for name in FACETS:
        parser.add_argument(f"--{name}", help=f"only this {name}")
    parser.add_argument("--lines", metavar="LOW-HIGH", help="only snippets of so many lines")
    parser.add_argument("--sort", choices=("harvest", "mixed", "long", "short", "wide"), default="harvest")
    about = "use a document that was left out, whatever stands against it"
    parser = add_command(actions, "rescue", about, _rescue)
    parser.add_argument("source", metavar="SOURCE", help="package==version, repository@commit, ...")
    parser.add_argument("path", metavar="PATH", help="inside that source")
    parser.add_argument("--undo", action="store_true", help="leave it out again")
    parser.add_argument("--as", dest="person", default="me", metavar="NAME", help="who says so (default: me)")


def _add_add(actions: Any) -> None:
    about = "cut snippets from code; every document left out is on record"
    parser = add_command(actions, "add", about, _add)
    parser.add_argument(
        "source", metavar="SOURCE",
        help="a folder, .tar.gz or .zip, git URL, Parquet or JSONL with a column `content`, "
        "`installed` (packages of this Python), or hf:NAME[:DATA_DIR]",
    )  # fmt: skip
    parser.add_argument("--per-language", type=int, default=0, metavar="N",
                        help="documents of a language that are used (default: all)")  # fmt: skip
    parser.add_argument("--total", type=int, default=0, metavar="N",
                        help="documents that are used, shared among languages as Magicoder's 80000: "
                        "half Python, a sixteenth each of eight others")  # fmt: skip
    parser.add_argument("--policy", choices=("magicoder", "syntax"), default="magicoder",
                        help="consecutive lines by chance (default), or a whole function")  # fmt: skip
    parser.add_argument("--min-lines", type=int, default=1, metavar="N")
    parser.add_argument("--max-lines", type=int, default=15, metavar="N")
    parser.add_argument("--random-seed", type=int, default=976, metavar="N")
    parser.add_argument("--licences", action="append", default=[], metavar="SPDX[,SPDX]",
                        help="licences allowed besides the permissive ones")  # fmt: skip
    parser.add_argument("--unknown-licences", action="store_true",
                        help="use documents whose licence nobody tells, too")  # fmt: skip
    parser.add_argument("--workers", type=int, default=0, metavar="N",
                        help="processes (default: one a processor, at most four)")  # fmt: skip
