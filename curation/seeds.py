"""Seeds: code of others -> snippets to be inspired by, with every document left out on record.

A harvest reads one source (folder, archive, git URL, installed packages, data set) and judges each document
by itself: licence, what it is made of, where it is cut. Then all documents of all harvests are compared:
equal ones, near-duplicates, quotas. What is kept depends on the documents only, never on the order in which
they came, how often the work was interrupted, or how many processes did it (Magicoder's own cutter depends
on its chunks: recipes 1.2).
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from curation.code_filters import reason_to_leave_out
from curation.code_sources import CodeSource, Position, open_source
from curation.cutting import NoCut, Policy, cut
from curation.document_twins import sign
from curation.errors import WrongInput
from curation.installed_documents import GIVEN, InstalledSource
from curation.licences import allow_list, decide, licence_reason_to_skip
from curation.records import Document, Skipped, digest
from curation.redaction import redact
from curation.seed_comparison import compare, comparing, keep_compared, lines_of, policy_of
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import documents, runs
from curation.store.database import Row
from curation.store.documents import JudgedDocument
from curation.work_processes import WorkProcesses
from curation.workspace import Workspace

CODE = "1"
BATCH = 256  # documents judged and kept together: about a second of work, and all that a kill costs
CRASHED = "crashed"
UNCOUNTED = "unknown_language"  # no code: counted, and not put on record one by one


@dataclass(frozen=True)
class Settings:
    """What a person may choose. Raises WrongInput for what cannot be."""

    policy: Policy = field(default_factory=Policy)
    per_language: int = 0  # documents of a language that are used; 0: all
    total: int = 0  # documents that are used, shared among languages as Magicoder's 80,000; 0: no such limit
    licences: tuple[str, ...] = ()  # SPDX ids allowed beside curation/licences.py's list
    allow_unknown: bool = False  # documents whose licence nobody says
    workers: int = 0  # processes that judge; 0: one a processor, at most four

    def __post_init__(self) -> None:
        if self.per_language < 0:
            raise WrongInput(f"--per-language {self.per_language} must be 0 (all) or more")
        if self.total < 0:
            raise WrongInput(f"--total {self.total} must be 0 (no limit) or more")
        if self.total and self.per_language:
            raise WrongInput("--total and --per-language are two ways to say one thing; give one of them")
        if not 0 <= self.workers <= 64:
            raise WrongInput(f"--workers {self.workers} must be between 0 (one a processor) and 64")
        allow_list(self.licences)

    @property
    def allow(self) -> frozenset[str]:
        return allow_list(self.licences)

    def asked(self) -> dict[str, Any]:
        """Say what the result depends on: not on how many processes do it."""
        return {
            "policy": self.policy.kind, "min_lines": self.policy.min_lines,
            "max_lines": self.policy.max_lines, "random_seed": self.policy.random_seed,
            "per_document": self.policy.per_document, "per_language": self.per_language,
            "licences": sorted(self.licences), "allow_unknown": self.allow_unknown,
            **({"total": self.total} if self.total else {}),  # absent in harvests of before there was one
        }  # fmt: skip


def settings_of(asked: Mapping[str, Any]) -> Settings:
    """Read settings as `Settings.asked` and jobs say them; what is not said has its default.

    Raises WrongInput.
    """
    names = ("per_language", "total", "allow_unknown")
    said = {name: asked[name] for name in names if name in asked}
    return Settings(policy_of(asked), licences=tuple(asked.get("licences", ())), **said)


def add_seeds(
    workspace: Workspace, given: str, settings: Settings | None = None, show: Progress = silent
) -> StageResult:
    """Harvest a source. The same call again changes nothing unless the source changed; other settings replace
    what this source brought before.

    Raises WrongInput when it is no source or holds no document of a known language, SourceUnavailable when it
    cannot be reached.
    """
    settings = settings or Settings()
    if not given.strip():
        raise WrongInput(
            "Name a source: a folder, an archive, a git URL, a file of rows, `installed` or hf:NAME"
        )
    id = digest(_named(given))
    known = documents.find_harvest(workspace.database, id)
    with _opened(workspace, given, known) as source:
        fingerprint = source.revision or _fingerprint(Path(os.path.expanduser(given)))
        request = runs.Request(f"seeds:{id[:16]}", settings.asked(), fingerprint, CODE)
        again = known is None or known.state != "complete"
        harvest = _Harvest(workspace, source, id, {**settings.asked(), "revision": fingerprint}, settings)
        result = run_stage(workspace, request, harvest.run, show, again)
    result.report = report(workspace, id)
    if not result.report["documents"]:
        raise WrongInput(f"{given} holds no file in a language that Winnow knows; give another source")
    return result


def report(workspace: Workspace, id: str) -> Report:
    """Give what a harvest came to by now: later harvests may have brought what it had."""
    db = workspace.database
    harvest = documents.find_harvest(db, id)
    counts = documents.counts(db, id)
    languages = documents.languages(db, id)
    skipped = Counter(harvest.skipped if harvest is not None else {}) + Counter(counts["dropped"])
    return {
        "documents": counts["documents"],
        "kept": counts["kept"],
        "snippets": sum(languages.values()),
        "skipped": dict(sorted(skipped.items(), key=lambda one: (-one[1], one[0]))),
        "languages": languages,
    }


def _named(given: str) -> str:
    """Name a source: the same folder, however its path is written."""
    path = os.path.expanduser(given)  # leaves a ~NAME that nobody has as it is, unlike pathlib's
    return str(Path(path).resolve()) if given != GIVEN and os.path.exists(path) else given


def _opened(workspace: Workspace, given: str, known: Row[Any] | None) -> CodeSource:
    """Open a source; a harvest that was cut short goes on with the commit or revision it began with."""
    if given == GIVEN:
        return InstalledSource()
    scratch = workspace.folder / "sources"
    is_begun = known is not None and known.state == "harvesting" and known.position is not None
    revision = known.settings.get("revision") if is_begun and known is not None else None
    is_path = os.path.exists(os.path.expanduser(given))  # what changed there is read anew
    return open_source(given, scratch, None if is_path else revision)


def _fingerprint(path: Path) -> str:
    """Name what lies at a path by its files' names, sizes and times: reading all of it would take as long."""
    files = [os.path.join(at, one) for at, _, names in os.walk(path) for one in names] or [str(path)]
    return digest(*sorted(_file_facts(path, one) for one in files))


def _file_facts(path: Path, file: str) -> str:
    # Names may hold bytes that are no UTF-8, and files be gone or forbidden by now: the harvest tells.
    name = os.path.relpath(file, path).encode(errors="backslashreplace").decode()
    try:
        about = os.lstat(file)
    except OSError as error:
        return f"{name} {error.errno}"
    return f"{name} {about.st_size} {about.st_mtime_ns}"


class _Harvest:
    """One attempt at reading a source."""

    def __init__(
        self, workspace: Workspace, source: CodeSource, id: str, asked: dict[str, Any], settings: Settings
    ) -> None:
        self.db = workspace.database
        self.workspace = workspace
        self.source = source
        self.id = id
        self.asked = asked
        self.settings = settings

    def run(self, stage: Stage) -> Report:
        position, skipped = self._begin()
        self._read(stage, position, skipped)
        with comparing(self.workspace):  # two harvests may end at once
            compared = compare(self.workspace, stage.progress)
            with stage.finishing() as connection:
                keep_compared(connection, compared)
                documents.finish_harvest(connection, self.id)
                runs.finish(connection, stage.run_id, {"documents": compared.documents})
        return {}

    def _begin(self) -> tuple[Position | None, Counter[str]]:
        """Open the harvest. Gives where it goes on; what other settings brought is taken back."""
        known = documents.find_harvest(self.db, self.id)
        goes_on = known is not None and known.state == "harvesting" and known.settings == self.asked
        with self.db.transaction() as connection:
            documents.open_harvest(connection, self.id, self.source.name, self.asked)
            if not goes_on:
                documents.forget_documents(connection, self.id)
        if known is None or not goes_on:
            return None, Counter()
        return known.position, Counter(known.skipped)

    def _read(self, stage: Stage, position: Position | None, skipped: Counter[str]) -> None:
        """Judge what follows a position, batch by batch; a batch and its position are one transaction."""
        found = iter(self.source.documents(position))
        done = 0
        work = partial(judged, settings=self.settings)
        with WorkProcesses(work, _crashed, self.settings.workers, BATCH) as judge:
            while batch := list(islice(found, BATCH)):
                left_out = [one for _, one in batch if isinstance(one, Skipped)]
                skipped.update(one.reason for one in left_out if one.reason == UNCOUNTED)
                ready = judge([one for _, one in batch if isinstance(one, Document)])
                ready += [self._unread(one) for one in left_out if one.reason != UNCOUNTED]
                self.workspace.require_space(sum(len(one.packed or b"") for one in ready), "Seeds")
                with self.db.transaction() as connection:
                    documents.add(connection, self.id, ready)
                    documents.note_position(connection, self.id, batch[-1][0], skipped)
                done += len(batch)
                stage.progress(f"reading {self.source.name}", done, 0)

    def _unread(self, skipped: Skipped) -> JudgedDocument:
        """Put on record what is no document."""
        return JudgedDocument(
            self.source.name, skipped.path, "", "", "unknown", "none", 0, 0, reason=skipped.reason,
            evidence={"said": skipped.evidence},
        )  # fmt: skip


# --- a document by itself ---


def _crashed(document: Document) -> JudgedDocument:
    return JudgedDocument(
        document.source, document.path, document.hash, document.language, document.licence,
        document.licence_evidence, len(document.data), 0, reason=CRASHED,
        evidence={"said": "the process that judged it died"},
    )  # fmt: skip


def judged(document: Document, settings: Settings) -> JudgedDocument:
    """Decide on a document by itself: its licence, what it is made of, where it is cut. One that is to be
    compared gets what it is compared by: here, where several processes share the work."""
    text = document.data.decode("utf-8")
    hidden = redact(text)
    cuts: Sequence[tuple[int, int]] = ()
    reason, evidence = _against(document, text, settings)
    if reason is None:
        found = cut(document.hash, text, document.language, settings.policy)
        if isinstance(found, NoCut):
            reason, evidence = found.reason, {}
        else:
            cuts = [(one.first_line, one.last_line) for one in found]
    return JudgedDocument(
        document.source, document.path, document.hash, document.language, document.licence,
        document.licence_evidence, len(document.data), len(lines_of(text)), cuts, dict(hidden.found),
        reason, evidence, documents.pack(hidden.text), sign(hidden.text) if reason is None else None,
    )  # fmt: skip


def _against(document: Document, text: str, settings: Settings) -> tuple[str | None, dict[str, Any]]:
    """Give the reason to leave a document out, and what shows it; (None, {}): nothing stands against it."""
    licence = {"licence": document.licence, "known by": document.licence_evidence}
    reason = decide(document.licence, document.licence_evidence, settings.allow, settings.allow_unknown)
    if reason is not None:
        return reason, licence
    if (header := licence_reason_to_skip(text, settings.allow)) is not None:
        return header, licence
    finding = reason_to_leave_out(text, document.path, document.language)
    return (None, {}) if finding is None else (finding.reason, dict(finding.evidence))
