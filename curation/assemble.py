"""Assemble: freeze the rows that are left as a named, hashed version."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation import __version__, clean, decontaminate, pair_redecide, pair_settings, review
from curation.atomic import atomic_write
from curation.errors import WrongInput
from curation.records import digest
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import benchmarks, decisions, evolutions, runs, sample_words, samples, versions
from curation.store.database import Connection, Row
from curation.workspace import Workspace

STAGE = "assemble"
CODE = "1"
RANDOM_SEED = "976"  # Magicoder's number; any would do
ROWS_FILE = "rows.jsonl"
MANIFEST = "manifest.json"
STAGES = (*runs.ORDER, STAGE)


@dataclass(frozen=True)
class Settings:
    """What a person may choose."""

    size: int = 25_000  # Open-Platypus holds 24,926
    open_cases: str = "refuse"  # or "keep", "drop": what happens to questions nobody answered
    validation: float = 0.02  # share of rows set aside
    evolution: str | None = None  # of which rounds after `through_round` are left out
    through_round: int | None = None  # 0: its seed set alone

    def __post_init__(self) -> None:
        """Raises WrongInput when a number is out of range."""
        if self.size < 1:
            raise WrongInput(f"--size {self.size} must be at least 1")
        if not 0.0 <= self.validation < 1.0:
            raise WrongInput(f"--validation {self.validation} must be at least 0 and less than 1")
        if (self.evolution is None) != (self.through_round is None):
            raise WrongInput("Give --evolution and --through-round together")
        if self.through_round is not None and self.through_round < 0:
            raise WrongInput(f"--through-round {self.through_round} must be 0 (the seed set) or more")

    @property
    def said(self) -> dict[str, Any]:
        """Say them as a run keeps them: what was not asked for is absent, as in runs of older versions."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass
class Fate:
    """What becomes of a row, and in which stage."""

    stage: str | None  # None: in the version
    reason: str = ""
    evidence: Mapping[str, Any] | None = None


def assemble(workspace: Workspace, name: str, settings: Settings, show: Progress = silent) -> StageResult:
    """Freeze a version. The same call again changes nothing.

    Raises WrongInput when the name is bad or taken by other rows, a stage is stale, or questions are
    open and `open_cases` is "refuse".
    """
    check_name(name)
    db = workspace.database
    if not samples.count(db):
        raise WrongInput("There are no samples to assemble; import some with `samples import FILE`")
    signature = _signature(workspace)
    request = runs.Request(f"{STAGE}:{name}", {**settings.said, "name": name}, signature, CODE)
    known = versions.find(db, name)
    if known is not None:
        frozen = runs.read(db, known.run_id)
        if frozen.input_hash != signature or frozen.settings != dict(request.settings):
            raise WrongInput(
                f"The version {name!r} is frozen and was made from other rows or settings; "
                "choose another name"
            )
        return StageResult(dict(frozen.report), frozen.id, unchanged=True)
    _refuse_stale(workspace)
    _refuse_open(workspace, settings)
    return run_stage(workspace, request, lambda stage: _run(stage, name, settings), show)


def check_name(name: str) -> None:
    """Raises WrongInput when this cannot name a version: names are folders, too."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", name):
        raise WrongInput(
            f"{name[:120]!r} cannot name a version; use up to 100 letters, digits, '-', '_' and '.'"
        )


def _signature(workspace: Workspace) -> str:
    """Name everything a version depends on: the samples, the current runs, every outcome, every vote."""
    db = workspace.database
    parts = [str(samples.count(db))]
    for stage in runs.ORDER:
        run = runs.current(db, stage)
        if run is not None:
            outcomes = ",".join(f"{o.seq}{o.state}{o.position}" for o in decisions.outcomes(db, run.id))
            parts += [run.input_hash, json.dumps(run.settings, sort_keys=True), digest(outcomes)]
    return digest(*parts)


def is_current(workspace: Workspace, name: str) -> bool:
    """Say whether a version was made from the samples, decisions and verdicts as they are now."""
    version = versions.find(workspace.database, name)
    if version is None:
        return False
    return bool(runs.read(workspace.database, version.run_id).input_hash == _signature(workspace))


def stale_rows(workspace: Workspace, stage: str) -> int | None:
    """Count the rows that entered or left a stage's input since it ran; None when it never ran.

    For `clean` those count, too, that people rejected since, or reject no longer. For `decontaminate`, which
    judges each row by itself, a row that left is no reason to run again. For the others it is: the row may be
    the keeper that another one was dropped for.
    """
    db = workspace.database
    run = runs.current(db, stage)
    if run is None:
        return None
    seen = {outcome.seq for outcome in decisions.outcomes(db, run.id)}
    now = set(runs.input_rows(db, stage).seqs)
    changed = len(now - seen) if stage == decontaminate.STAGE else len(now ^ seen)
    if stage == clean.STAGE:
        with db.reading() as connection:
            changed += sample_words.changed_since(connection, run.id)
    return changed


def _refuse_stale(workspace: Workspace) -> None:
    if runs.current(workspace.database, clean.STAGE) is None:
        with workspace.database.reading() as connection:
            rejected = len(sample_words.rejected(connection))
        if rejected:
            raise WrongInput(
                f"People rejected {rejected:,} rows; run `python -m curation clean` to drop them"
            )
    for stage in runs.ORDER:
        changed = stale_rows(workspace, stage)
        if changed:
            raise WrongInput(
                f"{stage} is stale: {changed:,} rows changed since it ran; "
                f"run `python -m curation {stage}` again"
            )


def open_cases(workspace: Workspace) -> int:
    """Count the questions that are open or disputed."""
    with workspace.database.reading() as connection:
        return sum(question.state != "settled" for question in review.questions(connection))


def _refuse_open(workspace: Workspace, settings: Settings) -> None:
    number = open_cases(workspace)
    if number and settings.open_cases == "refuse":
        raise WrongInput(
            f"{number:,} review cases are open; settle them with `review list` and `review vote`, "
            "or say what happens to them with --open drop or --open keep"
        )


def _run(stage: Stage, name: str, settings: Settings) -> Report:
    workspace = stage.workspace
    workspace.sweep()
    stage.progress("deciding on open cases", 0, 0)
    with stage.db.reading() as connection:
        fates, order = _fates(connection, workspace, settings)
    _leave_out_later_rounds(stage, fates, settings)
    _refuse_unanswered(fates, settings)
    _cut_to_size(stage, fates, order, settings.size)
    chosen = [seq for seq in order if fates[seq].stage is None]
    if not chosen:
        raise WrongInput("No row is left to freeze; `status` shows where they were dropped")
    folder = workspace.datasets / name
    file_hash = _write_rows(stage, folder, chosen, _validation(stage, chosen, settings.validation))
    dropped = dict.fromkeys(STAGES, 0) | Counter(
        fate.stage for fate in fates.values() if fate.stage is not None
    )
    report: Report = {
        "version": name,
        "rows": len(chosen),
        "sha256": file_hash,
        "samples": len(fates),
        "dropped": dropped,
        "assemble_reasons": dict(
            sorted(Counter(f.reason for f in fates.values() if f.stage == STAGE).items())
        ),
        "validation": round(len(chosen) * settings.validation),
        "contamination_checked": runs.current(stage.db, decontaminate.STAGE) is not None,
    }
    manifest = _manifest(workspace, settings, report, chosen)
    with atomic_write(folder / MANIFEST) as out:  # last: a folder with a manifest is whole
        out.write(json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=True).encode())
    with stage.finishing() as connection:
        _keep(connection, stage.run_id, fates, order)
        versions.add(connection, name, stage.run_id, file_hash, len(chosen), manifest)
        runs.finish(connection, stage.run_id, report)
    return report


def _fates(
    connection: Connection, workspace: Workspace, settings: Settings
) -> tuple[dict[int, Fate], list[int]]:
    """Follow every sample through the stages. Gives the fates and the order of the rows."""
    fates = {seq: Fate(None) for seq in samples.all_seqs(connection)}
    position = {seq: seq for seq in fates}
    for stage in runs.ORDER:
        run = runs.current_in(connection, stage)
        if run is None:
            continue
        outcomes = decisions.outcomes_in(connection, run.id)
        states = {one.seq: one.state for one in outcomes}
        position.update({one.seq: one.position for one in outcomes})
        rescued = decisions.rescued(connection, stage)
        resolved = _resolve(connection, workspace, run, outcomes, settings)
        for seq, fate in fates.items():
            if fate.stage is None:
                fates[seq] = _fate_in(stage, seq, states.get(seq), resolved, settings, seq in rescued)
    return fates, sorted(fates, key=lambda seq: position[seq])


def _leave_out_later_rounds(stage: Stage, fates: dict[int, Fate], settings: Settings) -> None:
    """Leave out what an evolution made after the round that is frozen (WizardCoder keeps the best round)."""
    if settings.evolution is None or settings.through_round is None:
        return
    found = evolutions.find(stage.db, settings.evolution)
    if found is None:
        raise WrongInput(f"There is no evolution {settings.evolution!r}; `evolution list` tells them")
    with stage.db.reading() as connection:
        later = evolutions.children_after(connection, found.id, settings.through_round)
    for seq, round in later.items():
        if fates[seq].stage is None:
            told = {"round": round, "through_round": settings.through_round, "evolution": found.id}
            fates[seq] = Fate(STAGE, "later_round", told)


def _refuse_unanswered(fates: Mapping[int, Fate], settings: Settings) -> None:
    """Never drop a row for an open question unasked, whatever the queue says."""
    left = sum(fate.reason.startswith("open_") for fate in fates.values())
    if left and settings.open_cases == "refuse":
        raise WrongInput(
            f"{left:,} rows wait for an answer; settle them with `review`, or use --open drop or --open keep"
        )


def _resolve(
    connection: Connection,
    workspace: Workspace,
    run: Row[Any],
    outcomes: Sequence[Row[Any]],
    settings: Settings,
) -> dict[int, Mapping[str, Any] | None] | None:
    """With --open keep, run the keep rule again: seq -> the evidence it is now dropped for, or None."""
    if run.stage != pair_settings.STAGE or settings.open_cases != "keep":
        return None
    if all(one.state != "pending" for one in outcomes):
        return None
    states, rejections = pair_redecide.fates_with_open_kept(connection, workspace, run, outcomes)
    evidence = {one["seq"]: one["evidence"] for one in rejections}
    return {seq: evidence.get(seq) if state == "dropped" else None for seq, state in states.items()}


def _fate_in(
    stage: str, seq: int, state: str | None, resolved: dict[int, Mapping[str, Any] | None] | None,
    settings: Settings, rescued: bool,
) -> Fate:  # fmt: skip
    if state is None:
        return Fate(STAGE, "unchecked", {"stage": stage, "why": f"{stage} has not seen this row"})
    if resolved is not None:
        evidence = resolved[seq]
        if evidence is None:
            return Fate(None)
        if state == "dropped":
            return Fate(stage)
        return Fate(STAGE, "near_duplicate_of_kept_case", evidence)
    if state == "dropped":
        return Fate(stage)
    if state == "pending" and not rescued and settings.open_cases != "keep":
        return Fate(STAGE, f"open_{stage.replace('-', '_')}", {"open": settings.open_cases})
    return Fate(None)


def _cut_to_size(stage: Stage, fates: dict[int, Fate], order: Sequence[int], size: int) -> None:
    """Keep `size` rows, drawn by a hash of their ids: the same rows whatever else is in the workspace."""
    left = [seq for seq in order if fates[seq].stage is None]
    if len(left) <= size:
        return
    ids = _ids(stage, left)
    for seq in sorted(left, key=lambda seq: sha256(f"{RANDOM_SEED}:{ids[seq]}".encode()).digest())[size:]:
        fates[seq] = Fate(STAGE, "over_size", {"size": size, "left_before": len(left)})


def _validation(stage: Stage, chosen: Sequence[int], share: float) -> set[int]:
    ids = _ids(stage, chosen)
    drawn = sorted(chosen, key=lambda seq: sha256(f"validation:{ids[seq]}".encode()).digest())
    return set(drawn[: round(len(chosen) * share)])


def _ids(stage: Stage, seqs: Sequence[int]) -> dict[int, str]:
    with stage.db.reading() as connection:
        return {seq: facts.id for seq, facts in samples.rule_facts(connection, seqs).items()}


def _write_rows(stage: Stage, folder: Path, chosen: Sequence[int], validation: set[int]) -> str:
    """Write the rows and give the sha256 of the file."""
    state = sha256()
    with atomic_write(folder / ROWS_FILE) as out:
        for start in range(0, len(chosen), samples.PAGE):
            stage.progress("writing rows", start, len(chosen))
            for row in samples.read(stage.db, chosen[start : start + samples.PAGE]):
                line = json.dumps(_row(row, row.seq in validation), ensure_ascii=False).encode() + b"\n"
                state.update(line)
                out.write(line)
    return state.hexdigest()


def _row(row: Row[Any], is_validation: bool) -> dict[str, Any]:
    return {
        "id": row.id,
        "split": "validation" if is_validation else "train",
        "instruction": row.instruction,
        "input": row.input,
        "response": row.response,
        "source": row.source,
        "row": row.row,
        "name": row.name,
        "licence": row.licence,
        "method": row.method,
        "file_id": row.file_id,
        "seed_id": row.seed_id,
        "content_hash": row.content_hash,
        "extra": row.extra,
    }


def _manifest(
    workspace: Workspace, settings: Settings, report: Report, chosen: Sequence[int]
) -> dict[str, Any]:
    """Say how a version came about. No time and no path stand in it: equal work gives an equal manifest."""
    db = workspace.database
    licences: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    methods: Counter[str] = Counter()
    for start in range(0, len(chosen), samples.PAGE):
        for row in samples.read(db, chosen[start : start + samples.PAGE]):
            licences[row.licence] += 1
            sources[row.name] += 1
            methods[row.method] += 1
    stages = {}
    for stage in runs.ORDER:
        run = runs.current(db, stage)
        if run is not None:
            report_kept = {key: value for key, value in run.report.items() if key != "seconds"}
            stages[stage] = {"settings": run.settings, "report": report_kept}
    known = (
        benchmarks.pinned(db, name)
        for name in stages.get(decontaminate.STAGE, {}).get("settings", {}).get("benchmarks", {})
    )
    pins = {
        b.name: {"sha256": b.sha256, "revision": b.revision, "items": b.items, "verified": b.verified}
        for b in known
        if b
    }
    return {
        "winnow": __version__,
        "report": report,
        "settings": settings.said,
        "stages": stages,
        "benchmarks": pins,
        "licences": dict(licences.most_common()),
        "sources": dict(sources.most_common()),
        "methods": dict(methods.most_common()),
    }


def _keep(connection: Connection, run_id: int, fates: Mapping[int, Fate], order: Sequence[int]) -> None:
    outcomes, rejections = [], []
    for position, seq in enumerate(order):
        fate = fates[seq]
        if fate.stage not in (None, STAGE):
            continue  # dropped earlier: that stage's run says why
        state = "kept" if fate.stage is None else "dropped"
        outcomes.append({"seq": seq, "state": state, "position": position, "cluster": None})
        if state == "dropped":
            rejections.append({"seq": seq, "reason": fate.reason, "evidence": dict(fate.evidence or {})})
    decisions.keep_all(connection, run_id, outcomes, rejections)


def read_rows(workspace: Workspace, name: str) -> tuple[dict[str, Any], Path]:
    """Give a version's manifest and its rows file, checked against its hash.

    Raises WrongInput when there is no such version or its file was changed.
    """
    version = versions.find(workspace.database, name)
    if version is None:
        names = versions.names(workspace.database)
        raise WrongInput(
            f"There is no version {name!r}; "
            + (f"there are: {', '.join(names)}" if names else "make one with `assemble NAME`")
        )
    file = workspace.datasets / name / ROWS_FILE
    if not file.is_file():
        raise WrongInput(
            f"{file} is missing; restore it from a backup, or assemble the rows under another name"
        )
    with file.open("rb") as opened:
        state = sha256()
        while block := opened.read(1 << 20):
            state.update(block)
    if state.hexdigest() != version.sha256:
        raise WrongInput(
            f"{file} was changed after it was frozen; restore it from a backup, "
            "or assemble under another name"
        )
    return dict(version.manifest), file
