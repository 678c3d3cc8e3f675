"""One way to find pairs, in a process of its own: `python -m bench.pair_peers NAME VECTORS OUT`.

Writes seconds, peak memory over what it was when the vectors were loaded, how many rows that stands for, and
the pairs (left x rows + right, sorted) for those that give pairs, or the rows kept for those that keep rows.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

FLOOR = 0.8
TOP = 32  # neighbours that an index of nearest ones is asked for
SLICE = 4_000  # rows of the Platypus loop; what it takes grows with their square

Found = tuple[np.ndarray | None, int | None]  # pairs, rows kept


def ours_quickest(x: np.ndarray) -> Found:
    return _ours(x)


def ours_float32(x: np.ndarray) -> Found:
    return _ours(x)


def _ours(x: np.ndarray) -> Found:
    from curation.pairs import search_pairs

    with TemporaryDirectory() as folder:
        found = search_pairs(x, FLOOR, Path(folder), lambda *_: None)
        return _keys(len(x), found["left"], found["right"]), None


def ours_keep_list(x: np.ndarray) -> Found:
    """Pairs, and the greedy rule over them: first seen stays."""
    from curation.keepers import DROPPED, Graph, Policy, decide
    from curation.pairs import search_pairs

    with TemporaryDirectory() as folder:
        found = search_pairs(x, FLOOR, Path(folder), lambda *_: None)
        left, right = found["left"].astype(np.int64), found["right"].astype(np.int64)
        graph = Graph(len(x), left, right, found["cosine"].astype(float), np.zeros(len(left), np.int64))
        fate = decide(graph, range(len(x)), Policy(FLOOR, 0), {}).fate
    return None, int((~np.isin(fate, DROPPED)).sum())


def blocked_product(x: np.ndarray) -> Found:
    """The whole upper triangle in float32, a block at a time."""
    found = []
    for row in range(0, len(x), 1024):
        for column in range(row, len(x), 4096):
            left, right = np.nonzero(x[row : row + 1024] @ x[column : column + 4096].T >= FLOOR)
            later = right + column > left + row
            found.append(_keys(len(x), left[later] + row, right[later] + column))
    return np.concatenate(found), None


def faiss_range(x: np.ndarray) -> Found:
    import faiss

    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x)
    limits, _, other = index.range_search(x, FLOOR)
    row = np.repeat(np.arange(len(x)), np.diff(limits.astype(np.int64)))
    return _keys(len(x), row[row < other], other[row < other]), None


def sklearn_radius(x: np.ndarray) -> Found:
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(metric="cosine", algorithm="brute", n_jobs=-1).fit(x)
    rows = near.radius_neighbors(x, 1 - FLOOR, return_distance=False)
    row = np.repeat(np.arange(len(x)), [len(one) for one in rows])
    other = np.concatenate(rows)
    return _keys(len(x), row[row < other], other[row < other]), None


def paraphrase_mining(x: np.ndarray) -> Found:
    import torch
    from sentence_transformers.util import paraphrase_mining_embeddings

    found = paraphrase_mining_embeddings(torch.from_numpy(x), top_k=100, max_pairs=10_000_000)
    near = np.array([(a, b) for score, a, b in found if score >= FLOOR]).reshape(-1, 2)
    return _keys(len(x), near.min(axis=1), near.max(axis=1)), None


def community_detection(x: np.ndarray) -> Found:
    from sentence_transformers.util import community_detection as detect

    groups = detect(x, threshold=FLOOR, min_community_size=2)
    return None, len(x) - sum(len(one) - 1 for one in groups)


def hnswlib_graph(x: np.ndarray) -> Found:
    import hnswlib

    index = hnswlib.Index("ip", x.shape[1])
    index.init_index(len(x), M=16, ef_construction=64, random_seed=976)
    index.add_items(x)
    index.set_ef(64)
    other, distance = index.knn_query(x, TOP)
    return _nearest(len(x), other.astype(np.int64), 1 - distance), None


def usearch_graph(x: np.ndarray) -> Found:
    from usearch.index import Index

    index = Index(ndim=x.shape[1], metric="ip")
    index.add(np.arange(len(x)), x)
    found = index.search(x, TOP)
    return _nearest(len(x), found.keys.astype(np.int64), 1 - found.distances), None


def _nearest(rows: int, other: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    row = np.repeat(np.arange(rows)[:, None], other.shape[1], axis=1)
    near = (cosine >= FLOOR) & (row != other)
    a, b = row[near], other[near]
    return np.unique(_keys(rows, np.minimum(a, b), np.maximum(a, b)))


def semhash_keep_list(x: np.ndarray) -> Found:
    from semhash import SemHash

    class None_:
        """Its model: never asked, as the vectors are given."""

        def encode(self, *_: Any, **__: Any) -> np.ndarray:
            raise AssertionError

    records = [str(at) for at in range(len(x))]
    made = SemHash.from_embeddings(x, records, None_())
    return None, len(made.self_deduplicate(threshold=FLOOR).selected)


def platypus_loop(x: np.ndarray) -> Found:
    """One row at a time beside all that are kept, as in the notebook."""
    from sklearn.metrics.pairwise import cosine_similarity

    kept = [0]
    for row in range(1, min(SLICE, len(x))):
        if cosine_similarity(x[row : row + 1], x[kept]).max() <= FLOOR:
            kept.append(row)
    return None, len(kept)


PEERS: dict[str, Callable[[np.ndarray], Found]] = {
    one.__name__: one
    for one in (
        ours_quickest, ours_float32, ours_keep_list, blocked_product, faiss_range, sklearn_radius,
        paraphrase_mining, community_detection, hnswlib_graph, usearch_graph, semhash_keep_list,
        platypus_loop,
    )
}  # fmt: skip


def _keys(rows: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) * rows + right


def main() -> None:
    name, vectors, out = sys.argv[1:]
    if name != "ours_float32":
        import torch  # noqa: F401  embedding has loaded it, as a rule: with it, bytes are chosen
    x = np.load(vectors, allow_pickle=False)
    _warm(name, x)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak()
    began = time.perf_counter()
    pairs, kept = PEERS[name](x)
    seconds = time.perf_counter() - began
    facts: dict[str, Any] = {"seconds": seconds, "megabytes": (_peak() - before) / 1024, "kept": kept}
    if pairs is not None:
        np.save(f"{out}.npy", np.sort(pairs), allow_pickle=False)
    Path(out).write_text(json.dumps(facts))


def _warm(name: str, x: np.ndarray) -> None:
    """Import what it imports: a few rows are enough."""
    PEERS[name](x[:200])


def _peak() -> float:
    """Give the most kilobytes this process had since its peak was cleared."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return float(line.split()[1])
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
