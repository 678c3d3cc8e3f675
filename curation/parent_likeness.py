"""How near each evolved task is to its parent, by the cosine that near-duplicates are told by.

A rewriting that changes little is one that `near-duplicates` would drop for its parent, or its parent for it:
the report tells the share of them before anybody wonders where the rows of a round went.
"""

from collections.abc import Sequence

import numpy as np

from curation.embedding import BUNDLED, SentenceEmbedder, TextRef, VectorCache, embed_missing, key_of
from curation.evolution_report import ALIKE
from curation.pairs import exact_cosines
from curation.records import question_of
from curation.stage import Progress, Report, silent
from curation.store import evolutions, samples
from curation.workspace import Workspace

PAGE = 1_000  # steps written down at a time


def measure_likeness(workspace: Workspace, id: str, show: Progress = silent, model: str = BUNDLED) -> Report:
    """Measure what was not measured yet. Gives evolution, measured (now), alike (at or above 0.8, of them).

    Vectors are those of `near-duplicates`: what it embedded is not embedded again, and the other way round.
    """
    db = workspace.database
    with db.reading() as connection:
        steps = evolutions.unmeasured(connection, id)
    if not steps:
        return {"evolution": id, "measured": 0, "alike": 0}
    seqs = sorted({int(seq) for step in steps for seq in (step.parent, step.child)})
    refs = _refs(workspace, seqs)
    embedder = SentenceEmbedder(model)
    cache = VectorCache(workspace.embeddings / embedder.hash)
    embed_missing(
        cache, embedder, list(refs.values()),
        lambda part: [question_of(row.instruction, row.input) for row in samples.read(db, part)],
        show, "embedding tasks",
    )  # fmt: skip
    alike = 0
    for start in range(0, len(steps), PAGE):
        page = steps[start : start + PAGE]
        both = [int(step.parent) for step in page] + [int(step.child) for step in page]
        first = np.arange(len(page), dtype=np.int32)
        cosines = exact_cosines(cache.gather([refs[seq].key for seq in both]), first, first + len(page))
        alike += int((cosines >= ALIKE).sum())
        with db.transaction() as connection:
            evolutions.change(connection, [
                {"id": step.id, "parent_cosine": float(cosine)}
                for step, cosine in zip(page, cosines, strict=True)
            ])  # fmt: skip
        show("comparing with parents", start + len(page), len(steps))
    return {"evolution": id, "measured": len(steps), "alike": alike}


def _refs(workspace: Workspace, seqs: Sequence[int]) -> dict[int, TextRef]:
    found: dict[int, TextRef] = {}
    for start in range(0, len(seqs), samples.PAGE):
        for row in samples.read(workspace.database, seqs[start : start + samples.PAGE]):
            text = question_of(row.instruction, row.input)
            found[row.seq] = TextRef(key_of(text), len(text), row.seq)
    return found
