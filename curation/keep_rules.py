"""Which of two look-alikes is the better row: the rules a person may choose from, as a rank for each row.

Sources: the longest response (Platypus section 2.2); the first seen (its notebook, data_similarity.ipynb).
By source, licence and judge are Winnow's own (design.md, the command-line contract); their ties go to the
longest response, then to the smaller id.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.errors import WrongInput
from curation.licences import NO_ANSWER, is_allowed
from curation.store import judgements, places
from curation.store.database import Connection

RULES: Mapping[str, str] = {
    "longest": "the longest response",
    "first": "the one seen first",
    "source": "the source named first",
    "licence": "an allowed licence before others, an unknown one last",
    "judge": "the judge's highest score, unjudged rows last",
}
UNKNOWN_LICENCE, OTHER_LICENCE, ALLOWED_LICENCE = "unknown", "not on the list", "allowed"
UNJUDGED = "not judged"


@dataclass(frozen=True)
class Standing:
    """What a rule goes by: for each row its rank (the smallest stays) and the word that evidence shows."""

    rank: npt.NDArray[np.int64]
    shown: list[str]  # [] when nothing but length or place counts


def check(keep: str, sources: Sequence[str]) -> None:
    """Raises WrongInput for a rule that does not exist, and for sources that no rule will read."""
    if keep not in RULES:
        raise WrongInput(f"--keep {keep} must be one of {', '.join(RULES)}")
    if keep == "source" and not sources:
        raise WrongInput("--keep source needs --sources A,B: the sources, the best first")
    if keep != "source" and sources:
        raise WrongInput(f"--sources is read by --keep source only; --keep is {keep}")
    if len(set(sources)) < len(sources):
        raise WrongInput("--sources names a source twice; name each once, the best first")


def standing(
    connection: Connection, keep: str, sources: Sequence[str], judged_to: int | None, seqs: Sequence[int]
) -> Standing:
    """Rank rows by a rule. `judged_to`: the newest judgement that counts, so that a run stays what it was.

    Raises WrongInput when none of these rows was judged but the judge is to decide.
    """
    rank: Callable[[], tuple[list[int], list[str]]] | None = {
        "source": lambda: _by_source(connection, sources, seqs),
        "licence": lambda: _by_licence(connection, seqs),
        "judge": lambda: _by_judge(connection, judged_to, seqs),
    }.get(keep)
    if rank is None:
        return Standing(np.zeros(len(seqs), dtype=np.int64), [])
    ranks, shown = rank()
    return Standing(np.array(ranks, dtype=np.int64), shown)


def check_sources(connection: Connection, sources: Sequence[str]) -> None:
    """Raises WrongInput when a source is named that no row comes from."""
    there = places.sources(connection)
    for source in sources:
        if source not in there:
            raise WrongInput(
                f"--sources names {source!r}, which no row comes from; there are {', '.join(sorted(there))}"
            )


def newest_judgement(connection: Connection) -> int:
    """Name the newest judgement. Raises WrongInput when nothing was judged."""
    newest = judgements.newest_id(connection)
    if newest is None:
        raise WrongInput("--keep judge needs scores, and no row was judged yet; run `judge` first")
    return newest


def _by_source(
    connection: Connection, sources: Sequence[str], seqs: Sequence[int]
) -> tuple[list[int], list[str]]:
    place = {source: number for number, source in enumerate(sources)}
    facts = places.origins(connection, seqs)
    last = len(sources)
    # A set may be named by its file or by its label; whichever was named first counts.
    ranks = [min(place.get(f.source, last), place.get(f.name, last)) for f in (facts[s] for s in seqs)]
    return ranks, [facts[seq].source for seq in seqs]


def _by_licence(connection: Connection, seqs: Sequence[int]) -> tuple[list[int], list[str]]:
    facts = places.origins(connection, seqs)
    classes: dict[str, tuple[int, str]] = {}
    for licence in {facts[seq].licence for seq in seqs}:
        if is_allowed(licence):
            classes[licence] = 0, f"{licence} ({ALLOWED_LICENCE})"
        elif licence.casefold() in NO_ANSWER:
            classes[licence] = 2, UNKNOWN_LICENCE
        else:
            classes[licence] = 1, f"{licence} ({OTHER_LICENCE})"
    found = [classes[facts[seq].licence] for seq in seqs]
    return [rank for rank, _ in found], [shown for _, shown in found]


def _by_judge(
    connection: Connection, judged_to: int | None, seqs: Sequence[int]
) -> tuple[list[int], list[str]]:
    scores = {s: row.score for s, row in judgements.newest(connection, seqs, judged_to).items()}
    return (
        [-int(scores[seq]) if seq in scores else 1 for seq in seqs],
        [f"{scores[seq]:g}" if seq in scores else UNJUDGED for seq in seqs],
    )
