"""1,000 texts of mixed length: ours (sorted over the job, saved by block) beside plain `encode`."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.timing import best_times, compared
from curation.embedding import SentenceEmbedder, TextRef, VectorCache, embed_missing, key_of

TEXTS, SLICE = 1_000, 32
WORDS = "return the list of numbers where each value is less than zero for given string input"


def run() -> list[str]:
    draw = random.Random(976)
    words = WORDS.split()
    texts = [
        " ".join(draw.choices(words, k=min(250, int(draw.lognormvariate(3.8, 0.9))))) for _ in range(TEXTS)
    ]
    embedder = SentenceEmbedder()
    embedder.embed(texts[:8])  # loads the model

    def ours() -> int:
        with TemporaryDirectory() as folder:
            cache = VectorCache(Path(folder))
            refs = [TextRef(key_of(text), len(text), n) for n, text in enumerate(texts)]
            return embed_missing(
                cache, embedder, refs, lambda part: [texts[n] for n in part], lambda *_: None, ""
            )

    def slices() -> None:
        for start in range(0, TEXTS, SLICE):
            embedder.embed(texts[start : start + SLICE])

    best = best_times(
        {
            "ours, saved to disk": ours,
            "encode, one list": lambda: embedder.embed(texts),
            f"encode, slices of {SLICE}": slices,
        },
        1,
    )
    return [
        *compared(best, "ours, saved to disk"),
        f"ours {TEXTS / best['ours, saved to disk'][0]:.0f} texts/s",
    ]
