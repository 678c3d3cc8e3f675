"""The facts that Winnow keeps, one type each. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


def digest(*parts: str) -> str:
    """Name a list of texts: the first 128 bits of a SHA-256 as 32 hex digits.

    Each part carries its length in bytes, so that ("ab", "c") and ("a", "bc") differ.
    """
    state = sha256()
    for part in parts:
        data = part.encode()
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.hexdigest()[:32]


def question_of(instruction: str, input: str) -> str:
    """Give the text Platypus compares: the instruction, a space and the input when there is one.

    Source: Platypus data_pipeline/data_similarity.ipynb (first cell).
    """
    return f"{instruction} {input}" if input else instruction


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of instruction data and where it came from."""

    id: str  # imported: digest(file hash, row position); others: see design "Ids"
    instruction: str
    input: str  # "" when there is none
    response: str
    source: str  # base name of the file it came from, or the hub name
    row: int | None  # position in that file from 0; None for rows not imported
    name: str  # label of the set, for facets
    licence: str  # SPDX expression, or "unknown"
    method: str  # "imported", "comment-function", ...
    file_hash: str | None = None  # sha256 of that file
    file_id: str | None = None  # the id the file itself gave the row
    seed_id: str | None = None  # the SeedSnippet it was made from
    extra: Mapping[str, Any] = field(default_factory=dict)  # other provenance columns, JSON values

    @property
    def question(self) -> str:
        return question_of(self.instruction, self.input)

    @property
    def content_hash(self) -> str:
        """Name the three texts, whatever file they stand in (verdict memory, exact duplicates)."""
        return digest(self.instruction, self.input, self.response)


@dataclass(frozen=True, slots=True)
class SeedSnippet:
    """Consecutive lines of one document of somebody's code."""

    id: str  # digest(document hash, first line, last line)
    document_hash: str  # sha256 of the document's bytes, hex
    first_line: int  # from 1
    last_line: int  # inclusive
    text: str
    language: str
    source: str  # package and version, or repository and commit
    path: str  # inside that source
    licence: str  # SPDX expression
    licence_evidence: str  # "expression", "classifier", ... how the licence is known
    method: str = "comment-function"  # how it was cut: that, or a policy of curation/cutting.py


@dataclass(frozen=True, slots=True)
class Document:
    """A file of somebody's code, and where it came from."""

    source: str  # package==version, repository@commit, base name of a folder, an archive or a data set
    path: str  # inside that source, with "/"
    language: str  # see curation/languages.py
    licence: str  # SPDX expression, or "unknown"
    licence_evidence: str  # "expression", "classifier", "field", "licence file", "corpus", "none", ...
    data: bytes  # as it was read; UTF-8 once it is decoded

    @property
    def hash(self) -> str:
        """Name it by its bytes: their sha256, in hex."""
        return sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class DocumentSignature:
    """What a document is compared by, instead of its text (curation/document_twins.py makes it)."""

    text_key: bytes  # 128 bits that name the text, whatever its line ends and the space behind its lines
    grams: int  # distinct token 5-grams
    numbers: bytes  # MinHash of the 5-grams: uint32, little-endian
    version: int  # of the rule that it was made by


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something of a source of code that did not even become a Document, and what shows why."""

    path: str  # inside the source, fit to be shown
    reason: str  # a short word that counts group by, e.g. "binary_file"
    evidence: str  # what was found, in a few words


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be used, as a person needs it to find and mend it."""

    position: int  # row position in the file, from 0
    line: int | None  # line of the file, from 1; None where a format has no lines
    reason: str  # a short word that counts group by, e.g. "empty_response"
    message: str  # one sentence naming the field at fault
    excerpt: str = ""  # the first 200 characters of the row


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One task of an evaluation set."""

    benchmark: str
    item: str  # task_id as text
    problem: str
    solution: str
    problem_string: str  # what the substring detector looks for: the docstring or the text
    solution_string: str

    @property
    def content_hash(self) -> str:
        return digest(self.problem, self.solution)
