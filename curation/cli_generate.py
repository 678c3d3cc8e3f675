"""The commands that ask a teacher: `generate` and what belongs to it."""

import argparse
import os
from typing import Any

from curation.cli_frame import Answer, add_command, marks_of, workspace_of
from curation.cli_output import Bar
from curation.cli_seeds import line_range
from curation.errors import WrongInput

MODEL_VARIABLE = "OPENAI_MODEL"
FACETS = ("language", "source", "licence")  # of seeds
TEACHER = (  # options that are settings of the same name
    "prompt", "temperature", "max_tokens", "budget_tokens", "price_in", "price_out", "budget_money",
    "concurrency", "deadline", "token_field", "retry_failed",
)  # fmt: skip
SETTINGS = ("limit", "draws", "batch_size", "give_up_batches", *TEACHER)


def _generate(args: argparse.Namespace, bar: Bar) -> Answer:
    if args.method == "comment-function":
        return _comment_functions(args, bar)
    from curation.generate import Settings, generate
    from curation.store.seed_browsing import SeedQuery
    from curation.teacher_key import key_from_environment, why_no_key

    facets = {name: getattr(args, name) for name in FACETS}
    query = SeedQuery(args.search, lines=line_range(args.lines), sort=args.sort, method=args.cut_by, **facets)
    given = {name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    model = args.model or os.environ.get(MODEL_VARIABLE, "")
    name = {"name": args.name} if args.name else {}
    settings = Settings(
        model=model, base_url=args.base_url or "", seeds=query, repair=not args.no_repair,
        send_seed=not args.no_seed, mode="batch" if args.batch else "now", **given, **name,
    )  # fmt: skip
    key = key_from_environment(settings.endpoint)
    notes = [] if key else [why_no_key(settings.endpoint)]
    result = generate(workspace_of(args), settings, key, bar)
    paused = result.report.get("paused")
    notes = [*notes, *result.warnings, *([paused] if paused else [])]
    return Answer({**result.report, **marks_of(result)}, notes)


def _comment_functions(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.comment_functions import Settings, comment_functions

    if args.model or args.base_url:
        raise WrongInput("--method comment-function asks no teacher; leave --model and --base-url out")
    name = {"name": args.name} if args.name else {}
    settings = Settings(limit=args.limit or 0, language=args.language, **name)
    result = comment_functions(workspace_of(args), settings, bar)
    return Answer({**result.report, **marks_of(result)}, result.warnings)


def add_generate_commands(commands: Any) -> None:
    """Add `generate` to the commands."""
    about = "seeds -> samples: a teacher writes a problem and its solution, inspired by each seed"
    parser = add_command(commands, "generate", about, _generate)
    parser.add_argument(
        "--method", choices=("oss-instruct", "comment-function"), default="oss-instruct",
        help="oss-instruct asks a teacher (default); comment-function pairs comments with their functions "
        "and asks nobody: the Magicoder paper found no gain from training on such pairs",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=int, metavar="N", help="seeds to ask about, in the order (default all)"
    )
    parser.add_argument("--draws", type=int, metavar="N", help="replies for each seed (default 1)")
    parser.add_argument("--name", help="label of the samples (default: the method)")
    add_teacher(parser)
    add_batch(parser)
    add_budget(parser)
    parser.add_argument("--search", default="", help="only seeds with these words")
    for name in FACETS:
        parser.add_argument(f"--{name}", help=f"only seeds of this {name}")
    parser.add_argument("--cut-by", choices=("magicoder", "syntax", "comment-function"),
                        help="only seeds that were cut so")  # fmt: skip
    parser.add_argument("--lines", metavar="LOW-HIGH", help="only seeds of so many lines")
    parser.add_argument("--sort", choices=("harvest", "mixed", "long", "short", "wide"), default="mixed",
                        help="which seeds come first (default mixed)")  # fmt: skip


def add_teacher(
    parser: argparse.ArgumentParser, most_tokens: int = 2_500, temperature: str = "0, as published"
) -> None:
    """Add the options that say whom to ask, and how."""
    parser.add_argument("--model", help=f"as the endpoint calls it (default: {MODEL_VARIABLE})")
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="OpenAI-compatible endpoint (default: OPENAI_BASE_URL, else OpenAI's). The key "
        "is OPENAI_API_KEY, which goes to the host of OPENAI_BASE_URL and to no other. A "
        "teacher of your own: `transformers serve`, then http://localhost:8000/v1",
    )
    parser.add_argument("--prompt", metavar="NAME", help="its name or hash (default: the one in use)")
    parser.add_argument("--temperature", type=float, metavar="T", help=f"default {temperature}")
    parser.add_argument("--max-tokens", type=int, metavar="N", help=f"of a reply (default {most_tokens})")
    parser.add_argument("--token-field", choices=("max_tokens", "max_completion_tokens"),
                        help="what the endpoint calls that bound")  # fmt: skip
    parser.add_argument("--no-seed", action="store_true", help="send no `seed`: some endpoints refuse it")
    parser.add_argument("--no-repair", action="store_true",
                        help="do not ask once more for a reply that cannot be read")  # fmt: skip
    parser.add_argument("--retry-failed", action="store_true", help="ask again what failed before")
    parser.add_argument("--concurrency", type=int, metavar="N", help="calls at once at most (default 32)")
    parser.add_argument("--deadline", type=float, metavar="S", help="seconds for one reply (default 120)")


def add_batch(parser: argparse.ArgumentParser) -> None:
    """Add the options of asking in batches."""
    parser.add_argument("--batch", action="store_true",
                        help="ask through the endpoint's batch API: answers come within a day, at OpenAI for "
                        "half the price, as it says; give the prices of a batch. Stop it and go on whenever "
                        "you like: the batch goes on at the teacher")  # fmt: skip
    parser.add_argument("--batch-size", type=int, metavar="N",
                        help="calls in one batch at most (default 50000, OpenAI's limit)")  # fmt: skip
    parser.add_argument(
        "--give-up-batches",
        action="store_true",
        help="count batches that cannot be fetched as paid, and ask their calls anew",
    )


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what it may take."""
    parser.add_argument("--budget-tokens", type=int, metavar="N",
                        help="tokens, in and out, of this generation in all (default 1000000); it pauses "
                        "before it could pass them")  # fmt: skip
    parser.add_argument("--price-in", type=float, metavar="X", help="price of a million tokens sent")
    parser.add_argument("--price-out", type=float, metavar="Y", help="price of a million tokens written")
    parser.add_argument(
        "--budget-money", type=float, metavar="Z", help="money, in the currency of the prices"
    )
