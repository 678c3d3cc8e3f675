"""The commands of Evol-Instruct: `evolve`, and `evolution` for what became of it."""

import argparse
import os
from typing import Any

from curation.cli_frame import Answer, Parser, add_command, marks_of, workspace_of
from curation.cli_generate import MODEL_VARIABLE, TEACHER, add_batch, add_budget, add_teacher
from curation.cli_output import Bar
from curation.elimination import CHECKS
from curation.errors import WrongInput

CHOICES = ("limit", "rounds", "heuristics", "random_seed", "top_p", "batch_size", "give_up_batches", *TEACHER)


def _evolve(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.evolve import Settings, evolve, preview
    from curation.teacher_key import key_from_environment, why_no_key

    given = {name: value for name in CHOICES if (value := getattr(args, name)) is not None}
    settings = Settings(
        model=args.model or os.environ.get(MODEL_VARIABLE, ""), base_url=args.base_url or "",
        parents=args.parents, ids=tuple(args.id), compares=not args.no_equality,
        checks=tuple(args.check), send_seed=not args.no_seed, mode="batch" if args.batch else "now",
        **given, **({"name": args.name} if args.name else {}),
    )  # fmt: skip
    if args.preview and not args.id:
        raise WrongInput("--preview shows single samples: name them with --id, once for each")
    key = key_from_environment(settings.endpoint)
    result = (preview if args.preview else evolve)(workspace_of(args), settings, key, bar)
    paused = result.report.get("paused")
    notes = [
        *([] if key else [why_no_key(settings.endpoint)]), *result.warnings, *([paused] if paused else [])
    ]  # fmt: skip
    return Answer({**result.report, **marks_of(result)}, notes)


def _list(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.evolution_report import counted
    from curation.store import evolutions

    db = workspace_of(args).database
    found = evolutions.all_of(db, evolutions.EVOLVED, evolutions.IMPORTED)
    told = [
        {"evolution": one.id, "name": one.name, "kind": one.kind, "parents": one.parents, "model": one.model,
         "rounds": len(counted(db, one.id).rounds), "paused": one.paused}
        for one in found
    ]  # fmt: skip
    return Answer({"evolutions": told})


def _report(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.evolution_report import full_report

    workspace = workspace_of(args)
    return Answer(full_report(workspace, _evolution(args)))


def _tree(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.evolution_tree import told_tree

    return Answer(told_tree(workspace_of(args), args.id))


def _branch(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation import evolution_branch

    acts = {
        "prune": evolution_branch.prune, "restore": evolution_branch.restore,
        "keep": evolution_branch.keep_anyway,
    }  # fmt: skip
    done = acts[args.action](workspace_of(args), args.step, args.person)
    return Answer({"step": done.step, "changed": done.changed, "message": done.message})


def _redo(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.evolution_branch import endpoint_of, redo
    from curation.teacher_key import key_from_environment

    workspace = workspace_of(args)
    given = {name: value for name in ("budget_tokens", "retry_failed") if (value := getattr(args, name))}
    key = key_from_environment(endpoint_of(workspace, args.step))
    result = redo(workspace, args.step, key, given, args.person, bar)
    paused = result.report.get("paused")
    return Answer({**result.report, **marks_of(result)}, [paused] if paused else [])


def _score(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.evolution_scores import enter_score

    score = None if args.score == "none" else _number(args.score)
    told = enter_score(workspace_of(args), _evolution(args), args.round, score, args.benchmark, args.person)
    return Answer({
        "scores": {str(round): score for round, score in told.scores.items()}, "benchmark": told.benchmark,
        "best": told.best, "sizes": {str(round): size for round, size in told.sizes.items()},
        "advice": told.advice,
    })  # fmt: skip


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise WrongInput(f"The score {text!r} is no number; give a percentage, or none") from None


def _compare(args: argparse.Namespace, bar: Bar) -> Answer:
    from curation.parent_likeness import measure_likeness

    return Answer(measure_likeness(workspace_of(args), _evolution(args), bar))


def _eliminate(args: argparse.Namespace, _bar: Bar) -> Answer:
    from curation.evolution_import import reject_eliminated

    return Answer(reject_eliminated(workspace_of(args), _evolution(args), args.person))


def _evolution(args: argparse.Namespace) -> str:
    """Give the id of the evolution that was named, or of the one that worked last."""
    from curation.store import evolutions

    db = workspace_of(args).database
    if not args.evolution:
        found = evolutions.all_of(db, evolutions.EVOLVED, evolutions.IMPORTED)
        if not found:
            raise WrongInput("Nothing was evolved here yet; run `evolve`, or import a round with --round")
        return str(found[0].id)
    row = evolutions.find(db, args.evolution)
    if row is None:
        raise WrongInput(f"There is no evolution {args.evolution!r}; `evolution list` tells them")
    return str(row.id)


def add_evolve_commands(commands: Any) -> None:
    """Add `evolve` and `evolution` to the commands."""
    about = "samples -> harder samples, in rounds: Code Evol-Instruct"
    parser = add_command(commands, "evolve", about, _evolve)
    parser.add_argument("--from", dest="parents", metavar="NAME",
                        help="the set to evolve (default: every sample that no evolution made)")  # fmt: skip
    parser.add_argument("--id", action="append", default=[], metavar="ID",
                        help="this sample, in full; once for each")  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="samples, in import order (default all)")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="in all, with those that were run before (default 3, as published)")  # fmt: skip
    parser.add_argument("--heuristics", metavar="A,B=2",
                        help="which, each with a weight (default 1): constraints, rarer, reasoning, "
                        "erroneous-code, complexity (default: these, alike); deepen, concretise, "
                        "complicate-input, breadth")  # fmt: skip
    parser.add_argument("--no-equality", action="store_true",
                        help="do not ask whether a task equals its parent: a call less")  # fmt: skip
    parser.add_argument("--check", action="append", default=[], choices=CHECKS,
                        help="a check of the published reproductions; once for each")  # fmt: skip
    parser.add_argument("--preview", action="store_true",
                        help="rewrite the samples of --id by each heuristic, and keep none")  # fmt: skip
    parser.add_argument("--name", help="label of the samples (default evol-instruct)")
    parser.add_argument(
        "--random-seed", type=int, metavar="N", help="of the draw of heuristics (default 976)"
    )
    add_teacher(parser, most_tokens=2_048, temperature="1, as published")
    parser.add_argument("--top-p", type=float, metavar="P", help="default 0.9")
    add_batch(parser)
    add_budget(parser)
    _add_evolution(commands)


def _add_evolution(commands: Any) -> None:
    words = ("list", "report", "tree", "score", "prune", "restore", "redo", "keep", "likeness", "eliminate")
    family: argparse.ArgumentParser = commands.add_parser("evolution", help="what became of evolving")
    actions = family.add_subparsers(
        dest="action", required=True, metavar="|".join(words), parser_class=Parser
    )
    add_command(actions, "list", "every evolution, the one that worked last first", _list)
    report = add_command(actions, "report", "rounds: survival, growth, tokens, beside the published", _report)
    tree = add_command(actions, "tree", "the family of a sample: every attempt, why, and its ids", _tree)
    tree.add_argument("id", metavar="SAMPLE")
    score = add_command(
        actions, "score", "note what a round scored on held-out tasks; marks the best", _score
    )
    score.add_argument("round", type=int, metavar="ROUND", help="0: the seed set alone")
    score.add_argument("score", metavar="PERCENT", help="none: take it back")
    score.add_argument("--benchmark", default="mbpp train+dev", metavar="NAME",
                       help="the held-out set (default: mbpp train+dev); never a reported test")  # fmt: skip
    likeness = add_command(actions, "likeness", "measure how near tasks are to their parents", _compare)
    eliminate = add_command(
        actions, "eliminate", "reject the samples of an imported round that a rule speaks against", _eliminate
    )
    for one in (report, score, likeness, eliminate):
        one.add_argument("--evolution", metavar="ID", help="default: the one that worked last")
    people = [score, eliminate, *_add_branch(actions)]
    for one in people:
        one.add_argument(
            "--as", dest="person", default="me", metavar="NAME", help="who says so (default: me)"
        )


def _add_branch(actions: Any) -> list[argparse.ArgumentParser]:
    made = [
        add_command(actions, "prune", "cut a step and what grew from it; nothing is deleted", _branch),
        add_command(actions, "restore", "put a pruned step back", _branch),
        add_command(actions, "keep", "keep what a rule eliminated", _branch),
        add_command(actions, "redo", "make a step and what grew from it anew; asks nothing else", _redo),
    ]
    for one in made:
        one.add_argument("step", metavar="STEP", help="its id, or how it begins: see `evolution tree`")
    made[-1].add_argument("--budget-tokens", type=int, metavar="N", help="of the whole evolution")
    made[-1].add_argument("--retry-failed", action="store_true", help="ask again what failed before")
    return made
