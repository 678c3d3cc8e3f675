"""Comment-function pairs: what is said of a function asks for it, and the function answers. No model.

Made of the documents of all harvests: in Python of docstrings (curation/documented_functions.py), in the
other languages of the comment above a function (curation/syntax_units.py). It is the baseline of the
Magicoder paper, whose ablation (recipes 1.8) found no gain from it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from curation.comment_text import reason_to_leave_out
from curation.documented_functions import LeftOut, judged_functions, module_name
from curation.errors import WrongInput
from curation.languages import NAMES
from curation.records import Sample, SeedSnippet, digest
from curation.seed_comparison import lines_of
from curation.stage import Progress, Report, Stage, StageResult, run_stage, silent
from curation.store import documents, runs, samples, seeds
from curation.store.database import Connection
from curation.store.documents import UsedDocument
from curation.syntax_units import commented_functions
from curation.work_processes import WorkProcesses
from curation.workspace import Workspace

METHOD = "comment-function"
CODE = "1"
BATCH = 500  # pairs kept together: all that a kill costs
READ = 256  # documents read together, by several processes where there are so many
NOTE = (
    "These rows pair comments and docstrings with the functions they are about; no model wrote them. "
    "The Magicoder paper found no gain from training on such pairs (HumanEval+ 34.1 -> 34.1; "
    "other languages, MultiPL-E: 29.6 -> 24.1): they are for trying Winnow, not for training."
)

# Why a document gives none, beside the reasons of curation/syntax_units.py.
NO_TEXT, NO_PYTHON, CRASHED = "no_text", "no_python", "crashed"
NO_CANDIDATE, NONE_USABLE = "no_commented_function", "none_usable"

Pair = tuple[SeedSnippet, Sample]


@dataclass(frozen=True)
class Settings:
    """What a person may choose. Raises WrongInput for what cannot be."""

    limit: int = 0  # samples; 0: all there are. A larger one takes more and never others
    name: str = METHOD  # label of the set
    language: str | None = None  # of curation/languages.py; None: all
    workers: int = 0  # processes that read; 0: one a processor, at most four

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise WrongInput(f"--limit {self.limit} must be 0 (all) or more")
        if not self.name.strip():
            raise WrongInput("A set of samples needs a name; leave --name out for its usual one")
        if self.language is not None and self.language not in NAMES:
            raise WrongInput(f"No such language: {self.language}; there are {', '.join(NAMES)}")
        if not 0 <= self.workers <= 64:
            raise WrongInput(f"--workers {self.workers} must be between 0 (one a processor) and 64")

    def asked(self) -> dict[str, Any]:
        """Say what the result depends on: not on how many processes do it."""
        return {"limit": self.limit, "name": self.name, "language": self.language}


def comment_functions(
    workspace: Workspace, settings: Settings | None = None, show: Progress = silent
) -> StageResult:
    """Make samples of the functions that harvested documents say something about.

    A candidate is a function or method that has a comment right above it (Python: a docstring) and stands in
    no other function. Documents come in the order of their hashes, candidates in that of their lines, up to
    the limit; so what is taken depends on the documents alone. In the report `requested` counts candidates
    up to there, and is `kept` (samples that are in the store now) plus all of `rejected`; `documents_without`
    counts the documents that give no sample, by reason. The same call again changes nothing.

    Raises WrongInput when no document was harvested, or no candidate can be used.
    """
    settings = settings or Settings()
    number, fingerprint = _documents(workspace, settings.language)
    if not number:
        which = f"document in {settings.language}" if settings.language else "document"
        raise WrongInput(f"No {which} was harvested; harvest a source with `seeds add SOURCE` first")
    name = f"generate:{METHOD}:{digest(*map(str, settings.asked().values()))[:16]}"
    request = runs.Request(name, settings.asked(), fingerprint, CODE)
    result = run_stage(workspace, request, lambda stage: _Pairing(stage, settings, number).run(), show)
    if result.unchanged:
        result.report["new"] = 0
    if not result.report["kept"]:
        raise WrongInput(
            f"None of {number:,} documents has a function with a comment that can be used; "
            "harvest other sources with `seeds add SOURCE`"
        )
    return result


def _documents(workspace: Workspace, language: str | None) -> tuple[int, str]:
    """Count the documents that are used, and name all that a sample takes from them."""
    facts = [
        digest(one.hash, one.source, one.path, one.language, one.licence, one.licence_evidence)
        for one in documents.used(workspace.database, language, texts=False)
    ]
    return len(facts), digest(*facts)


class _Pairing:
    """One attempt at going through the documents."""

    def __init__(self, stage: Stage, settings: Settings, number: int) -> None:
        self.stage = stage
        self.settings = settings
        self.number = number
        self.read = self.new = 0
        self.languages: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.without: Counter[str] = Counter()
        self.waiting: list[Pair] = []

    def run(self) -> Report:
        for document in self._found():
            self._take(document)
            self.read += 1
            if self._is_full():
                break
        with self.stage.finishing() as connection:
            self.new += _keep(connection, self.waiting)
            report = self._report()
            runs.finish(connection, self.stage.run_id, report)
        return report

    def _found(self) -> Iterator["Found"]:
        """Read the documents in their order, a batch at a time."""
        limit = self.settings.limit
        size = min(READ, limit) if limit else READ  # one a document is a fair guess
        given = documents.used(self.stage.db, self.settings.language)
        work = partial(found_in, name=self.settings.name)
        with WorkProcesses(work, _crashed, self.settings.workers, READ) as read:
            while batch := list(islice(given, size)):
                self.stage.progress("pairing comments with functions", self.read, self.number)
                yield from read(batch)

    def _take(self, document: "Found") -> None:
        given = 0
        for one in document.candidates:
            if self._is_full():
                break
            if isinstance(one, str):
                self.rejected[one] += 1
            else:
                given += 1
                self.languages[one[0].language] += 1
                self.waiting.append(one)
                self._keep_batch()
        if not given:
            self.without[document.reason or (NONE_USABLE if document.candidates else NO_CANDIDATE)] += 1

    def _keep_batch(self) -> None:
        if len(self.waiting) < BATCH:
            return
        self.stage.workspace.require_space(0, "Pairing comments with functions")
        with self.stage.db.transaction() as connection:
            self.new += _keep(connection, self.waiting)
        self.waiting = []

    def _is_full(self) -> bool:
        return 0 < self.settings.limit <= self.languages.total()

    def _report(self) -> Report:
        return {
            "requested": self.languages.total() + self.rejected.total(),
            "kept": self.languages.total(),
            "new": self.new,
            "rejected": _most_first(self.rejected),
            "calls": 0,
            "tokens": 0,
            "languages": _most_first(self.languages),
            "documents": self.read,
            "documents_without": _most_first(self.without),
            "note": NOTE,
        }


def _keep(connection: Connection, pairs: Sequence[Pair]) -> int:
    """Keep samples with the seeds they are from; a seed that a harvest cut from the same lines stays."""
    seeds.add(connection, [seed for seed, _ in pairs])
    return samples.add(connection, [sample for _, sample in pairs])


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


# --- a document by itself ---


@dataclass(frozen=True, slots=True)
class Found:
    """The candidates of a document in line order, each a pair or the reason to reject it."""

    candidates: Sequence[Pair | str] = ()
    reason: str | None = None  # why there is no looking for any


@dataclass(frozen=True, slots=True)
class _Candidate:
    comment: str
    code: str
    first_line: int
    last_line: int
    function: str
    reason: str | None = None


def found_in(document: UsedDocument, name: str) -> Found:
    """Look for the functions of a document that something is said about. `name` labels the samples."""
    if document.packed is None:
        return Found(reason=NO_TEXT)
    text = documents.unpack(document.packed)
    read = _by_docstring if document.language == "Python" else _by_comment
    found = read(document, text)
    if isinstance(found, str):
        return Found(reason=found)
    lines = lines_of(text)
    return Found([one.reason or _pair(document, one, lines, name) for one in found])


def _by_docstring(document: UsedDocument, text: str) -> list[_Candidate] | str:
    found = judged_functions(text, document.path, module_name(Path(document.path)), document.hash)
    if found is None:
        return NO_PYTHON
    candidates = []
    for one in found:
        if isinstance(one, LeftOut):
            candidates.append(_Candidate("", "", one.first_line, 0, one.qualified_name, one.reason))
        else:
            reason = reason_to_leave_out(one.docstring)
            place = (one.first_line, one.last_line)
            candidates.append(_Candidate(one.docstring, one.code, *place, one.qualified_name, reason))
    return candidates


def _by_comment(document: UsedDocument, text: str) -> list[_Candidate] | str:
    found = commented_functions(text, document.language)
    if isinstance(found, str):
        return found
    return [
        _Candidate(
            one.comment, one.code, one.first_line, one.last_line, one.name,
            "stub" if one.is_stub else reason_to_leave_out(one.comment, one.documents),
        )
        for one in found
    ]  # fmt: skip


def _pair(document: UsedDocument, one: _Candidate, lines: Sequence[bytes], name: str) -> Pair:
    """Make the pair. A template around the comment would make all rows alike."""
    first, last = one.first_line, one.last_line
    seed = SeedSnippet(
        digest(document.hash, str(first), str(last)), document.hash, first, last,
        b"".join(lines[first - 1 : last]).decode(), document.language, document.source, document.path,
        document.licence, document.licence_evidence, METHOD,
    )  # fmt: skip
    sample = Sample(
        id=digest(document.hash, f"{first}-{last}", METHOD),
        instruction=one.comment,
        input="",
        response=one.code,
        source=document.source,
        row=None,
        name=name,
        licence=document.licence,
        method=METHOD,
        seed_id=seed.id,
        extra={"function": one.function} if one.function else {},
    )
    return seed, sample


def _crashed(_: UsedDocument) -> Found:
    return Found(reason=CRASHED)
