"""All pairs >= 0.8 of 10,000 vectors with many near ones: ours, scikit-learn, and the full matrix."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.timing import best_times, compared
from curation.pairs import search_pairs

ROWS, DIMENSIONS, THRESHOLD = 10_000, 384, 0.8


def vectors() -> np.ndarray:
    """Make unit vectors in 2,000 groups of like ones, seeded. Their spectrum is flatter than real text's."""
    random = np.random.default_rng(976)
    centres = random.standard_normal((2_000, DIMENSIONS))
    found = centres[random.integers(0, 2_000, ROWS)] + 0.45 * random.standard_normal((ROWS, DIMENSIONS))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def run() -> list[str]:
    from sklearn.neighbors import NearestNeighbors

    x = vectors()

    def ours() -> int:
        with TemporaryDirectory() as folder:
            return len(search_pairs(x, THRESHOLD, Path(folder) / "pairs", lambda *_: None))

    def scikit_learn() -> int:
        model = NearestNeighbors(metric="cosine", algorithm="brute").fit(x)
        return sum(map(len, model.radius_neighbors(x, 1 - THRESHOLD, return_distance=False))) // 2 - ROWS // 2

    def full_matrix() -> int:
        return int(np.count_nonzero(np.triu(x @ x.T, 1) >= THRESHOLD))

    best = best_times(
        {"ours": ours, "scikit-learn radius, brute": scikit_learn, "numpy full matrix": full_matrix}
    )
    counts = {name: result for name, (_, result) in best.items()}
    return [*compared(best, "ours"), f"pairs found: {counts}"]
