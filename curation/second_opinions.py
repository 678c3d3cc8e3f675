"""Second opinions on look-alikes: responses that repeat another one's words, or its code under other names.

The cosine of two questions says nothing of copied answers, and a vector of 256 word pieces nothing of what
comes after them. Candidates come from a library's MinHash; a pair counts when the Jaccard similarity of the
token 5-grams themselves says so (document_twins). Nothing is dropped for it: it is shown beside the cosine.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write
from curation.code_fingerprint import fingerprint
from curation.document_twins import THRESHOLD, grams, sign, similarity, twins
from curation.embedding import Vectors
from curation.pairs import exact_cosines
from curation.records import DocumentSignature, question_of
from curation.stage import Progress

KINDS = ("words", "code")
OPINION = np.dtype([("kind", "i1"), ("left", "<i4"), ("right", "<i4"), ("score", "<f4"), ("cosine", "<f4")])
Opinions = npt.NDArray[np.void]
FEWEST = 20  # different 5-grams of code without names; fewer say little


@dataclass(frozen=True)
class Beside:
    """What words and code say of a pair; None: too little text, or no code, to tell."""

    question: float | None
    response: float | None
    code: float | None


def beside(left: Any, right: Any) -> Beside:
    """Compare two rows by words and by code: Jaccard similarities from 0 to 1."""
    questions = [question_of(row.instruction, row.input) for row in (left, right)]
    codes = [fingerprint(row.response) for row in (left, right)]
    return Beside(
        _alike(questions[0], questions[1]),
        _alike(left.response, right.response),
        _alike(codes[0], codes[1], FEWEST),
    )


def _alike(left: str, right: str, fewest: int = 1) -> float | None:
    one, other = grams(left), grams(right)
    if min(len(one), len(other)) < fewest:
        return None
    return similarity(one, other)


def second_opinions(
    ids: Sequence[str], rows: Callable[[], Iterable[Any]], text_of: Callable[[str], Any], vectors: Vectors,
    progress: Progress, threshold: float = THRESHOLD,
) -> Opinions:  # fmt: skip
    """Find rows whose responses repeat another's words or code. A line a row that repeats, left first.

    `ids` names the rows in import order; `rows` gives them in that order, and `text_of` one by its id.
    Cosines are those of the vectors that were compared. Memory: 2 KB a row.
    """
    place = {id: number for number, id in enumerate(ids)}
    signed: dict[str, dict[str, DocumentSignature]] = {kind: {} for kind in KINDS}
    for number, row in enumerate(rows()):
        if number % 500 == 0:
            progress("reading words and code", number, len(ids))
        signed["words"][row.id] = sign(row.response)
        code = fingerprint(row.response)
        if code:
            signature = sign(code)
            if signature.grams >= FEWEST:
                signed["code"][row.id] = signature
    reading: dict[str, Callable[[str], str]] = {
        "words": lambda id: str(text_of(id).response),
        "code": lambda id: fingerprint(text_of(id).response),
    }
    found: list[tuple[int, int, int, float]] = []
    for number, kind in enumerate(KINDS):
        like = twins(signed[kind].items(), reading[kind], threshold, progress)
        for id, twin in like.items():
            ends = sorted((place[id], place[twin.keeper]))
            found.append((number, ends[0], ends[1], twin.score))
    return _with_cosines(sorted(found), vectors)


def _with_cosines(found: Sequence[tuple[int, int, int, float]], vectors: Vectors) -> Opinions:
    opinions = np.zeros(len(found), dtype=OPINION)
    for name, column in zip(("kind", "left", "right", "score"), zip(*found, strict=True), strict=False):
        opinions[name] = column
    opinions["cosine"] = exact_cosines(vectors, opinions["left"], opinions["right"])
    return opinions


def opinions_file(pairs: Path, run_id: int) -> Path:
    return pairs / f"run-{run_id}-opinions.npy"


def write(pairs: Path, run_id: int, opinions: Opinions) -> None:
    with atomic_write(opinions_file(pairs, run_id)) as file:
        np.save(file, opinions, allow_pickle=False)


def read(pairs: Path, run_id: int) -> Opinions | None:
    """Read the opinions of a run; None when it was not asked for any. Raises OSError or ValueError when the
    file is damaged."""
    if not opinions_file(pairs, run_id).is_file():
        return None
    found: Opinions = np.load(opinions_file(pairs, run_id), allow_pickle=False)
    if found.dtype != OPINION:
        raise ValueError(f"{opinions_file(pairs, run_id)} holds something else")
    return found
