"""What a job may be: the steps, their names for people, the settings they know, how each is run."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.errors import WrongInput
from curation.workspace import Workspace

Settings = Mapping[str, Any]  # what JSON can say
Show = Callable[[str, int, int], None]  # what is being done, how many are done, of how many
Outcome = dict[str, Any]  # ok, then report and warnings, or message and kind


@dataclass(frozen=True)
class Step:
    """Something that takes long: its name for people, the settings it knows, and how it is run."""

    title: Callable[[Settings], str]
    knows: tuple[str, ...]
    run: Callable[[Workspace, dict[str, Any], Show], Outcome]
    needs: tuple[str, ...] = ()
    queue: str = "jobs"  # or "training": hours of training must not keep a reviewer's next stage waiting


def _run_example(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.example import example

    return _outcome(example(workspace, show=show, **given))


def _run_import(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.formats import FieldMap
    from curation.import_samples import Settings as ImportSettings
    from curation.import_samples import import_samples

    columns = FieldMap(*(given.get(name) for name in ("instruction", "input", "response")))
    settings = ImportSettings(
        given.get("name"), given.get("licence"), columns, given.get("round"), given.get("parents")
    )
    result = import_samples(workspace, given["file"], settings, show)
    bad = sum(result.report["rejected"].values())
    return _outcome(result, [f"{bad:,} rows could not be used"] if bad else [])


def _run_seeds(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.seeds import add_seeds, settings_of

    source = given.pop("source")
    return _outcome(add_seeds(workspace, source, settings_of(given), show))


def _run_generate(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    if given.pop("method", "oss-instruct") == "comment-function":
        from curation.comment_functions import Settings as PairSettings
        from curation.comment_functions import comment_functions

        return _outcome(comment_functions(workspace, PairSettings(**given), show))
    from curation.generate import generate, settings_of

    return _ask(generate, workspace, settings_of(given), show)


def _run_prompt_bench(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.generate import settings_of
    from curation.prompt_bench import Variant, run_bench
    from jobs.keys import key_for

    variants = [Variant(*one) for one in given.pop("variants")]
    key = key_for(workspace.folder, settings_of(given).endpoint)
    result = run_bench(workspace, given, variants, key, show)
    return _outcome(result, _paused(result.report))


def _ask(work: Callable[..., Any], workspace: Workspace, settings: Any, show: Show) -> Outcome:
    """Do work that asks a teacher, with the key that is held for its endpoint."""
    from jobs.keys import key_for

    result = work(workspace, settings, key_for(workspace.folder, settings.endpoint), show)
    return _outcome(result, _paused(result.report))


def _paused(report: Mapping[str, Any]) -> list[str]:
    return [report["paused"]] if report.get("paused") else []


def _run_parse_again(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.parse_again import parse_again

    return {"ok": True, "report": parse_again(workspace, given.get("generation"), show), "warnings": []}


def _run_judge(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.judge import judge, settings_of

    return _ask(judge, workspace, settings_of(given), show)


def _run_evolve(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.evolve import evolve, settings_of

    return _ask(evolve, workspace, settings_of(given), show)


def _run_evolve_preview(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.evolve import preview, settings_of

    return _ask(preview, workspace, settings_of(given), show)


def _run_evolve_redo(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.evolution_branch import endpoint_of, redo
    from jobs.keys import key_for

    step, person = given.pop("step"), given.pop("person", "me")
    key = key_for(workspace.folder, endpoint_of(workspace, step))
    result = redo(workspace, step, key, given, person, show)
    return _outcome(result, _paused(result.report))


def _run_likeness(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.parent_likeness import measure_likeness

    return {"ok": True, "report": measure_likeness(workspace, given["evolution"], show), "warnings": []}


def _run_clean(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.clean import clean

    return _outcome(clean(workspace, show=show, **given))


def _run_near_duplicates(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation import near_duplicates as step
    from curation.pair_settings import settings_from

    result = step.near_duplicates(workspace, settings_from(given), show)
    cut, rows = result.report.get("cut_short"), result.report["samples"]
    note = f"{cut:,} of {rows:,} rows were compared on their first 256 word pieces only" if cut else ""
    return _outcome(result, [*([note] if note else []), *result.report["alarms"]])


def _run_decontaminate(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation import decontaminate as step

    given.update({name: tuple(given[name]) for name in ("benchmarks", "detectors") if name in given})
    return _outcome(step.decontaminate(workspace, step.Settings(**given), show))


def _run_insights(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.insights import Settings as InsightSettings
    from curation.insights import insights

    given["sets"] = tuple(given.get("sets") or ())
    return _outcome(insights(workspace, InsightSettings(**given), show))


def _run_assemble(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.assemble import Settings as AssembleSettings
    from curation.assemble import assemble

    name = given.pop("name")
    result = assemble(workspace, name, AssembleSettings(**given), show)
    checked = result.report["contamination_checked"]
    note = "contamination was not checked; run `decontaminate` before you report scores"
    return _outcome(result, [] if checked else [note])


def _run_export(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.export import export

    show("writing files", 0, 0)
    form, files = given["format"], given.get("files", "jsonl")
    done = export(workspace, given["name"], form, files, Path(given["to"]))
    report = {**done.report, "to": given["to"], "unchanged": done.unchanged, "attached": False}
    return {"ok": True, "report": report, "warnings": []}


def _run_practice_base(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from training.practice_base import practice_base

    return {"ok": True, "report": practice_base(workspace, show=show), "warnings": []}


def _run_train(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from training.lora import train

    report = train(workspace, given["run"], show)
    return {"ok": True, "report": report, "warnings": report.get("machine", {}).get("notes", [])}


def _run_merge(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from training.merge import merge

    report = merge(workspace, given["run"], Path(given["to"]), show)
    return {"ok": True, "report": report, "warnings": []}


def _run_push(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from training.push import push

    private = given.get("private") is not False  # what is no clear yes to the public stays private
    merged = given.get("merged") is True
    report = push(workspace, given["run"], given["repository"], private, merged, show)
    return {"ok": True, "report": report, "warnings": []}


def _outcome(result: Any, notes: Sequence[str] = ()) -> Outcome:
    """Say what a stage came to, in what JSON can say."""
    marks = {"unchanged": result.unchanged, "attached": result.attached}
    return {"ok": True, "report": {**result.report, **marks}, "warnings": [*result.warnings, *notes]}


def _base_name(settings: Settings) -> str:
    return str(settings.get("file", "")).rstrip("/").rsplit("/", 1)[-1]


def _source_name(settings: Settings) -> str:
    source = str(settings.get("source", ""))
    return "the installed packages" if source == "installed" else source.rstrip("/").rsplit("/", 1)[-1]


def _benchmark_names(settings: Settings) -> str:
    return ", ".join(str(one).split("=")[0] for one in settings.get("benchmarks", ()))


def _benchmark_name(settings: Settings) -> str:
    return str(settings.get("benchmark") or "a benchmark").split("=")[0]


def _asked_about(settings: Settings) -> str:
    if settings.get("method") == "comment-function":
        return "Make comment-function pairs"
    number = len(settings.get("ids") or ()) or settings.get("limit")
    return f"Ask {settings.get('model')} about {number:,} seeds" if number else f"Ask {settings.get('model')}"


def _evolved(settings: Settings) -> str:
    rounds = int(settings.get("rounds") or 3)
    about = settings.get("parents") or "samples"
    return f"Evolve {about}: {rounds} {'round' if rounds == 1 else 'rounds'}"


TEACHER = (
    "model", "base_url", "prompt", "temperature", "max_tokens", "send_seed", "token_field", "retry_failed",
    "budget_tokens", "price_in", "price_out", "budget_money", "concurrency", "deadline", "mode", "batch_size",
    "give_up_batches",
)  # fmt: skip
EVOLVE = (
    *TEACHER, "top_p", "name", "parents", "ids", "limit", "rounds", "heuristics", "compares", "checks",
    "random_seed",
)  # fmt: skip
NEAR = (
    "threshold", "floor", "text", "keep", "sources", "budget", "ask_low", "ask_high", "model", "preset",
    "draft", "opinions",
)  # fmt: skip
STEPS: dict[str, Step] = {
    "example": Step(
        lambda given: f"Make the example from {given.get('rows', 3000):,} functions",
        ("rows", "benchmark"),
        _run_example,
    ),
    "import": Step(
        lambda given: f"Import {_base_name(given)}",
        ("file", "name", "licence", "instruction", "input", "response", "round", "parents"),
        _run_import,
        ("file",),
    ),
    "seeds": Step(
        lambda given: f"Harvest {_source_name(given)}",
        (
            "source",
            "policy",
            "min_lines",
            "max_lines",
            "random_seed",
            "per_language",
            "total",
            "licences",
            "allow_unknown",
        ),
        _run_seeds,
        ("source",),
    ),
    "generate": Step(
        _asked_about,
        (*TEACHER, "method", "name", "seeds", "ids", "limit", "draws", "repair", "language"),
        _run_generate,
    ),
    "prompt-bench": Step(
        lambda given: f"Compare two prompts on {given.get('limit', 0):,} seeds",
        (*TEACHER, "seeds", "ids", "limit", "variants"),
        _run_prompt_bench,
        ("variants",),
    ),
    "parse-again": Step(lambda given: "Read replies again", ("generation",), _run_parse_again),
    "judge": Step(
        lambda given: f"Judge samples with {given.get('model')}",
        (*TEACHER, "name", "method", "ids", "limit", "repair"),
        _run_judge,
        ("model",),
    ),
    "evolve": Step(_evolved, EVOLVE, _run_evolve),
    "evolve-preview": Step(
        lambda given: f"Preview {len(given.get('ids') or ()):,} samples",
        EVOLVE,
        _run_evolve_preview,
        ("ids",),
    ),
    "evolve-redo": Step(
        lambda given: "Redo a branch",
        ("step", "person", "budget_tokens", "retry_failed"),
        _run_evolve_redo,
        ("step",),
    ),
    "likeness": Step(
        lambda given: "Compare evolved tasks with their parents",
        ("evolution",),
        _run_likeness,
        ("evolution",),
    ),
    "clean": Step(lambda given: "Drop exact duplicates", ("rule",), _run_clean),
    "near-duplicates": Step(lambda given: "Find near-duplicates", NEAR, _run_near_duplicates),
    "decontaminate": Step(
        lambda given: f"Compare with {_benchmark_names(given)}",
        ("benchmarks", "detectors", "low", "high", "budget", "model"),
        _run_decontaminate,
        ("benchmarks",),
    ),
    "insights": Step(
        lambda given: f"Measure rows beside {_benchmark_name(given)}",
        ("benchmark", "sets", "categories", "model"),
        _run_insights,
    ),
    "assemble": Step(
        lambda given: f"Freeze {given.get('name')}",
        ("name", "size", "open_cases", "validation", "evolution", "through_round"),
        _run_assemble,
        ("name",),
    ),
    "export": Step(
        lambda given: f"Export {given.get('name')} as {given.get('format')}",
        ("name", "format", "files", "to"),
        _run_export,
        ("name", "format", "to"),
    ),
    "practice-base": Step(lambda given: "Make the practice base", (), _run_practice_base, queue="training"),
    "train": Step(lambda given: f"Train {given.get('run')}", ("run",), _run_train, ("run",), "training"),
    "merge": Step(lambda given: f"Merge {given.get('run')}", ("run", "to"), _run_merge, ("run", "to")),
    "push": Step(
        lambda given: f"Push {given.get('run')} to {given.get('repository')}",
        ("run", "repository", "private", "merged"),
        _run_push,
        ("run", "repository"),
    ),
}


QUEUES = tuple(sorted({step.queue for step in STEPS.values()}))  # one job of each at a time


def queue_of(step: str) -> str:
    """Name the queue of a step; of one that another version knew, the first."""
    return STEPS[step].queue if step in STEPS else QUEUES[0]


def title_of(step: str, settings: Settings) -> str:
    try:
        return STEPS[step].title(settings)
    except (KeyError, TypeError, ValueError):  # a job of another version, or settings that make no sense
        return step


def check(step: str, settings: Settings) -> None:
    """Raise WrongInput when the step does not know a setting, or needs one that is missing."""
    known = STEPS[step]
    for key in settings:
        if key not in known.knows:
            raise WrongInput(f"{step} has no setting {key!r}; it has {', '.join(known.knows)}")
    for key in known.needs:
        if not settings.get(key):
            raise WrongInput(f"{step} needs the setting {key!r}")


def settled(settings: Settings) -> dict[str, Any]:
    """Make paths absolute: the worker does not stand where the app stands. Raises WrongInput."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(settings), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WrongInput(f"The settings {settings!r} are not what JSON can say ({error})") from error
    for key in ("file", "to"):
        if isinstance(plain.get(key), str) and not plain[key].startswith("hf:"):
            plain[key] = os.path.abspath(os.path.expanduser(plain[key]))
    source = plain.get("source")
    if isinstance(source, str) and os.path.exists(os.path.expanduser(source)) and source != "installed":
        plain["source"] = os.path.abspath(os.path.expanduser(source))
    if isinstance(plain.get("benchmark"), str):
        plain["benchmark"] = _settled_benchmark(plain["benchmark"])
    if isinstance(plain.get("benchmarks"), list):
        plain["benchmarks"] = [_settled_benchmark(str(one)) for one in plain["benchmarks"]]
    return plain


def _settled_benchmark(one: str) -> str:
    name, equals, file = one.partition("=")
    return f"{name}={os.path.abspath(os.path.expanduser(file))}" if equals else one
