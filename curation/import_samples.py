"""Import: a file or hub set of instruction data -> samples, with every unusable row on record."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation.atomic import atomic_write
from curation.errors import WrongInput
from curation.evolution_import import check_round, link_round
from curation.formats import FieldMap, Parts, parts_of
from curation.hub import read_hub_rows
from curation.reading import FileRow, read_rows, sha256_of
from curation.records import BadRow, Sample, digest
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import decisions, runs, samples
from curation.store.database import Connection, Database
from curation.workspace import Workspace

CODE = "1"
BATCH = 1_000  # rows committed together: quick enough, and little to do again after a kill
HUB = "hf:"
SHOWN = 10  # unusable rows that are told one by one; all are in the store


@dataclass(frozen=True)
class Settings:
    """What a person may say about a file."""

    name: str | None = None  # label of the set; None: the base name of the file
    licence: str | None = None  # SPDX; None: unknown
    fields: FieldMap = field(default_factory=FieldMap)
    round: int | None = None  # of an evolution that somebody else ran
    parents: str | None = None  # the set that it evolved


@dataclass(frozen=True)
class Source:
    """What is imported."""

    hash: str
    source: str
    rows: Iterator[FileRow | BadRow]


def import_samples(
    workspace: Workspace, what: str, settings: Settings | None = None, show: Progress = silent
) -> StageResult:
    """Import a file, or `hf:NAME[:SPLIT]`. Importing the same file again changes nothing.

    With `round` and `parents` its rows are linked to the set that they were evolved from, see
    curation/evolution_import.py. Raises WrongInput when the file is not one of the known forms or has no
    usable row, or there is no such set.
    """
    settings = settings or Settings()
    if settings.round is not None or settings.parents is not None:
        check_round(workspace, settings.round, settings.parents)
    source = _open(what)
    result = _import(workspace, source, settings, show)
    if settings.round is not None and settings.parents is not None:
        name = settings.name or source.source
        told = link_round(workspace, source.hash, name, settings.round, settings.parents, show)
        result.report = {**result.report, "round": told}
    return result


def _import(workspace: Workspace, source: Source, settings: Settings, show: Progress) -> StageResult:
    db = workspace.database
    known = samples.file(db, source.hash)
    asked = {
        "name": settings.name or source.source,
        "licence": settings.licence or "unknown",
        **asdict(settings.fields),
    }
    if known is not None and known.state == "complete" and samples.count_of_file(db, source.hash):
        warnings = [*known.warnings, *_differences(known, asked)]  # the first may have gone with its process
        return StageResult(_report(db, source, new=0), 0, unchanged=True, warnings=warnings)
    request = runs.Request(f"import:{source.hash[:16]}", asked, source.hash, CODE)
    result = run_stage(workspace, request, lambda stage: _run(stage, source, asked, settings.fields), show)
    if result.attached or result.unchanged:
        result.report = _report(db, source, new=0)
    file = samples.file(db, source.hash)
    result.warnings = list(file.warnings) if file is not None else []
    if not result.report["imported"]:
        first = decisions.first_file_rejection(db, source.hash)
        why = f": {first.evidence['message']} (line {first.line})" if first is not None else ""
        raise WrongInput(
            f"{source.source} holds no usable row{why}; "
            "name its columns with --instruction, --input, --response"
        )
    return result


@dataclass(frozen=True)
class Preview:
    """The first rows of a file as an import would read them."""

    columns: list[str]  # of the first row that is an object; [] when none is
    rows: list[Parts | BadRow]


def preview(path: Path, fields: FieldMap, rows: int = 3) -> Preview:
    """Read the first rows of a file without keeping anything, in constant time and memory.

    Raises WrongInput when the file is not one of the known forms.
    """
    columns: list[str] = []
    found: list[Parts | BadRow] = []
    for row in read_rows(path):
        if isinstance(row, BadRow):
            found.append(row)
        else:
            columns = columns or [str(name) for name in row.value]
            found += parts_of(row, fields)
        if len(found) >= rows:
            break
    return Preview(columns, found[:rows])


def keep_upload(workspace: Workspace, name: str, data: bytes) -> Path:
    """Keep an uploaded file in the workspace, where a job finds it after any restart.

    Only the base name is taken from outside, and only its harmless signs (faults.md S35); the folder is named
    by the content, so that the same upload is kept once. Raises OSError when the disk is full.
    """
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    safe = re.sub(r"[^\w.+ -]", "_", base).lstrip(". ")[-120:] or "upload.jsonl"
    path = workspace.folder / "uploads" / sha256(data).hexdigest()[:32] / safe
    if not path.is_file():
        with atomic_write(path) as file:
            file.write(data)
    return path


def _open(what: str) -> Source:
    if what.startswith(HUB):
        name = what.removeprefix(HUB)
        revision, rows = read_hub_rows(name)
        return Source(digest(name, revision), name.split(":")[0].rstrip("/").rsplit("/", 1)[-1], rows)
    path = Path(what).expanduser()
    if not path.is_file():
        read_rows(path)  # raises with the reason
        raise WrongInput(f"{what} is not a file; give a JSON, JSONL or Parquet file, or hf:NAME")
    return Source(sha256_of(path), path.name, read_rows(path))


def _differences(known: Any, asked: dict[str, Any]) -> list[str]:
    if known.settings == asked:
        return []
    return [
        f"{known.source} was imported before under the name {known.name!r} with other options; "
        "its rows stay as they are. Use a new workspace to import it differently"
    ]


def _refuse_mixing(db: Database, source: Source, asked: dict[str, Any]) -> None:
    """Raise WrongInput when an earlier import was cut short and read the rows in another way."""
    known = samples.file(db, source.hash)
    if known is not None and known.settings != asked and samples.count_of_file(db, source.hash):
        options = " ".join(f"--{key} {value}" for key, value in known.settings.items() if value)
        raise WrongInput(
            f"An import of {source.source} with other options was cut short; finish it with {options}, "
            "or import into a new workspace"
        )


@dataclass
class Batch:
    """Rows on their way into the store."""

    samples: list[Sample] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples) + len(self.bad)


def _run(stage: Stage, source: Source, asked: dict[str, Any], fields: FieldMap) -> Report:
    _refuse_mixing(stage.db, source, asked)
    with stage.db.transaction() as connection:
        samples.open_file(
            connection,
            {"hash": source.hash, "source": source.source, "name": asked["name"], "settings": asked},
        )
        decisions.forget_file_rejections(connection, source.hash)
    new = rows = 0
    batch = Batch()
    for outcome in _samples(source, asked, fields):
        (batch.bad if isinstance(outcome, BadRow) else batch.samples).append(outcome)  # type: ignore[arg-type]
        rows += 1
        if len(batch) >= BATCH:
            new += _keep(stage, source, batch)
            batch = Batch()
            stage.workspace.require_space(0, "Importing")
            stage.progress(f"importing {source.source}", rows, 0)
    new += _keep(stage, source, batch)
    with stage.finishing() as connection:
        samples.close_file(connection, source.hash, rows, _warnings(connection, stage.db, source))
        report = {"rows": rows, "new": new}
        runs.finish(connection, stage.run_id, report)
    return _report(stage.db, source, new)


def _samples(source: Source, asked: dict[str, Any], fields: FieldMap) -> Iterator[Sample | BadRow]:
    """Number the rows: one for each row of the file, one for each instance of a self-instruct row."""
    position = 0
    for row in source.rows:
        for part in [row] if isinstance(row, BadRow) else parts_of(row, fields):
            if isinstance(part, BadRow):
                yield BadRow(position, part.line, part.reason, part.message, part.excerpt)
            else:
                yield Sample(
                    id=digest(source.hash, str(position)),
                    instruction=part.instruction,
                    input=part.input,
                    response=part.response,
                    source=source.source,
                    row=position,
                    name=asked["name"],
                    licence=asked["licence"],
                    method="imported",
                    file_id=part.file_id,
                    file_hash=source.hash,
                    extra=part.extra,
                )
            position += 1


def _keep(stage: Stage, source: Source, batch: Batch) -> int:
    with stage.db.transaction() as connection:
        new = samples.add(connection, batch.samples)
        rejections = [
            {"seq": None, "file_hash": source.hash, "row": bad.position, "line": bad.line,
             "reason": bad.reason, "evidence": {"message": bad.message, "excerpt": bad.excerpt}}
            for bad in batch.bad
        ]  # fmt: skip
        decisions.keep_all(connection, stage.run_id, [], rejections)
    return new


def _warnings(connection: Connection, db: Database, source: Source) -> list[str]:
    warnings = []
    repeated, example = samples.repeated_file_ids(db, source.hash)
    if repeated:
        warnings.append(
            f"{source.source}: {repeated} ids stand on more than one row, such as {example!r}; "
            "all rows are kept"
        )
    others = [f for f in samples.files(db) if f.source == source.source and f.hash != source.hash]
    if others:
        warnings.append(
            f"Another file called {source.source} with other content was imported before; "
            "the rows of both are in the workspace"
        )
    return warnings


def _report(db: Database, source: Source, new: int) -> Report:
    with db.reading() as connection:
        rejected = decisions.file_rejections(connection, source.hash)
    imported = samples.count_of_file(db, source.hash)
    bad_rows = [
        {"row": bad.row, "line": bad.line, "reason": bad.reason, "message": bad.evidence["message"]}
        for bad in decisions.file_rejection_list(db, source.hash, SHOWN)
    ]
    return {
        "rows": imported + sum(rejected.values()),
        "imported": imported,
        "new": new,
        "rejected": rejected,
        "bad_rows": bad_rows,
    }
