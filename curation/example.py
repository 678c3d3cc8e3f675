"""The example: a frozen set from the code on this machine, with no network and no key.

Documented functions of the installed packages become comment-function samples and go through every
stage. The Magicoder paper (ablation "comment-function pairs", recipes 1.8) trained on 75K such pairs and
found no gain: HumanEval+ 34.1 before and after. They are there to try the bench, not to train a model.
"""

from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distributions
from typing import Any

from curation import assemble, clean, decontaminate, near_duplicates, pair_settings
from curation.benchmarks import PYSTDLIB
from curation.documented_functions import DocumentedFunction
from curation.errors import WrongInput
from curation.installed_code import PackageFile, harvest, package_files
from curation.records import Sample, SeedSnippet, digest
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import runs, samples, seeds, versions
from curation.workspace import Workspace

NAME = "example"
METHOD = "comment-function"
CODE = "1"
QUICK, FULL = 3_000, 25_000
BATCH = 500
PARTS = ("collecting", "exact duplicates", "near-duplicates", "contamination", "freezing")
HONEST = (
    "These rows pair docstrings of installed packages with their functions; no model wrote them. "
    "The Magicoder paper found no gain from training on such pairs (HumanEval+ 34.1 -> 34.1): "
    "they are for trying Winnow, not for training."
)


def example(
    workspace: Workspace, rows: int = QUICK, show: Progress = silent, benchmark: str = PYSTDLIB
) -> StageResult:
    """Make the version `example` from `rows` documented functions. The same call again changes nothing.

    Raises WrongInput when the workspace holds other samples or an example of another size.
    """
    if rows < 1:
        raise WrongInput(f"--rows {rows} must be at least 1; Quick is {QUICK:,}, Full is {FULL:,}")
    db = workspace.database
    done = versions.find(db, NAME)
    if done is not None:
        return _done_before(workspace, rows)
    _refuse_other_samples(workspace)
    asked = {"rows": rows}
    request = runs.Request(NAME, asked, _packages(), CODE)
    made = run_stage(workspace, request, lambda stage: _harvest(stage, rows), _part(show, 1))
    clean.clean(workspace, show=_part(show, 2))
    near_duplicates.near_duplicates(workspace, pair_settings.Settings(), _part(show, 3))
    decontaminate.decontaminate(workspace, decontaminate.Settings((benchmark,)), _part(show, 4))
    result = assemble.assemble(workspace, NAME, assemble.Settings(open_cases="drop"), _part(show, 5))
    report = {
        **result.report,
        "candidates": made.report["samples"],
        "skipped": made.report["skipped"],
        "note": HONEST,
    }
    return StageResult(report, result.run_id, result.unchanged, result.attached)


def _part(show: Progress, number: int) -> Progress:
    """Say which of the five parts a progress belongs to."""

    def shown(what: str, done: int, total: int) -> None:
        show(f"{PARTS[number - 1]} ({number} of {len(PARTS)}), {what}", done, total)

    return shown


def _done_before(workspace: Workspace, rows: int) -> StageResult:
    run = runs.current(workspace.database, NAME)
    if run is None or run.settings["rows"] != rows:
        raise WrongInput(
            f"The version {NAME!r} of this workspace is frozen and was not made from {rows:,} rows; "
            "use a new folder with --workspace"
        )
    version = versions.find(workspace.database, NAME)
    assert version is not None
    report = dict(runs.read(workspace.database, version.run_id).report)
    report |= {"candidates": run.report["samples"], "skipped": run.report["skipped"], "note": HONEST}
    return StageResult(report, version.run_id, unchanged=True)


def _refuse_other_samples(workspace: Workspace) -> None:
    for row in samples.stream(workspace.database, ("method", "name")):
        if row.method != METHOD or row.name != NAME:
            raise WrongInput(
                "This workspace holds other samples; give the example a folder of its own with --workspace"
            )


def _packages() -> str:
    """Name the packages that are installed: other packages give other functions."""
    return digest(*sorted(f"{d.metadata['Name']}=={d.version}" for d in distributions()))


def _harvest(stage: Stage, rows: int) -> Report:
    skipped: Counter[str] = Counter()
    stage.progress("listing installed packages", 0, rows)
    files = package_files(skipped)
    number = 0
    batch: list[tuple[SeedSnippet, Sample]] = []
    for one in _pairs(rows, files, skipped):
        batch.append(one)
        number += 1
        if len(batch) == BATCH:
            _keep(stage, batch)
            batch = []
            stage.progress("reading documented functions", number, rows)
    _keep(stage, batch)
    if not number:
        raise WrongInput(
            "No installed package under an open licence has documented functions; import data instead"
        )
    if samples.count(stage.db) != number:
        raise WrongInput(
            "This workspace holds part of an example of another size, or of other packages; "
            "give this one a folder of its own with --workspace"
        )
    report: dict[str, Any] = {"samples": number, "skipped": dict(sorted(skipped.items()))}
    with stage.finishing() as connection:
        runs.finish(connection, stage.run_id, report)
    return report


def _pairs(
    rows: int, files: list[PackageFile], skipped: Counter[str]
) -> Iterator[tuple[SeedSnippet, Sample]]:
    for seed, function, file in harvest(rows, files, skipped):
        yield seed, _sample(seed, function, file)


def _sample(seed: SeedSnippet, function: DocumentedFunction, file: PackageFile) -> Sample:
    """Make the pair: the docstring asks, the function answers. A template would make all rows alike."""
    return Sample(
        id=digest(seed.document_hash, f"{seed.first_line}-{seed.last_line}", METHOD),
        instruction=function.docstring,
        input="",
        response=function.code,
        source=seed.source,
        row=None,
        name=NAME,
        licence=file.licence,
        method=METHOD,
        seed_id=seed.id,
        extra={"function": function.qualified_name},
    )


def _keep(stage: Stage, batch: list[tuple[SeedSnippet, Sample]]) -> None:
    with stage.db.transaction() as connection:
        seeds.add(connection, [seed for seed, _ in batch])
        samples.add(connection, [sample for _, sample in batch])
