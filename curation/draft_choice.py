"""Says whether drafts (draft_vectors.py) are quicker on this machine, by embedding a few lines both ways.

Not where the processor has no bfloat16. On an AMD EPYC without AVX-512 torch took 5.5 times float32's seconds
for the bundled model (a bare product in bfloat16 took a hundred times), and OpenVINO as long as float32.
"""

import os
import time

from curation.embedding import Embedder
from curation.errors import WrongInput

PAYS = 0.8  # of float32's seconds, at most: rows near an edge are embedded twice (performance.md: a fifth)
HOPELESS = 10.0  # times float32's seconds for one line: a longer look would take a minute
LINE = "Write a function that sorts a list of numbers."  # 12 word pieces
LONG = " ".join([LINE] * 11)  # 123
BATCH = [LONG] * 8  # about a thousand word pieces: half a second in float32
ROUNDS = 2
CHOICES = ("auto", "always")  # what WINNOW_DRAFTS may say


def pace_if_slow(draft: Embedder, exact: Embedder) -> float | None:
    """Give the seconds of drafts by those of float32 where drafts do not pay; None: they do.

    WINNOW_DRAFTS=always takes them unasked. Raises WrongInput for another word than those of CHOICES.
    """
    wanted = os.environ.get("WINNOW_DRAFTS") or "auto"
    if wanted not in CHOICES:
        raise WrongInput(f"WINNOW_DRAFTS={wanted!r} must be one of {', '.join(CHOICES)}")
    if wanted == "always":
        return None
    pace = _pace(draft, exact, [LINE])
    if pace < HOPELESS:
        pace = _pace(draft, exact, BATCH)
    return pace if pace > PAYS else None


def _pace(draft: Embedder, exact: Embedder, texts: list[str]) -> float:
    """Take turns, so that a slow moment of the machine meets both; the best of each counts."""
    seconds = [(_seconds(draft, texts), _seconds(exact, texts)) for _ in range(ROUNDS)]
    return min(drafts for drafts, _ in seconds) / min(floats for _, floats in seconds)


def _seconds(embedder: Embedder, texts: list[str]) -> float:
    began = time.perf_counter()
    embedder.embed_batch(texts)
    return time.perf_counter() - began
