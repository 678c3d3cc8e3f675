"""4,000 functions, shared instructions and answers: ours beside sentence-transformers' plain `encode`.

Ours in float32 by torch, by OpenVINO where it is installed (`make fast`), and by drafts down to the pairs at
0.8, with the pairs of each held against those of plain `encode`.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.corpus import SHARED, functions, read_rows
from curation import openvino_runtime
from curation.compared_texts import compared, compared_by_drafts
from curation.draft_vectors import Texts
from curation.embedding import SentenceEmbedder, TextRef, Vectors, key_of
from curation.pair_list import Pairs
from curation.pairs import search_pairs
from curation.stage import silent
from curation.workspace import Workspace

TEXTS, FLOOR, ROUNDS = 4_000, 0.8, 2
PLAIN = "encode, its default, one list"


def texts() -> list[str]:
    """Give answered instructions where the shared sets are, functions for the rest; whole, not cut."""
    found: list[str] = []
    for file in ("code_alpaca_2k.json.gz", "evol_codealpaca_2k_round1.json.gz"):
        if (SHARED / file).is_file():
            for row in read_rows(SHARED / file)[: TEXTS * 3 // 8]:
                found.append("\n".join((row["instruction"], row.get("input") or "", row["output"])))
    made = list(functions())
    step = max(1, len(made) // (TEXTS - len(found)))
    return list(dict.fromkeys([*found, *made[::step]]))[:TEXTS]


@contextmanager
def runtime(name: str) -> Iterator[None]:
    before = os.environ.get("WINNOW_RUNTIME")
    os.environ["WINNOW_RUNTIME"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["WINNOW_RUNTIME"]
        else:
            os.environ["WINNOW_RUNTIME"] = before


def loaded(name: str, is_draft: bool = False) -> SentenceEmbedder:
    with runtime(name):
        embedder = SentenceEmbedder(is_draft=is_draft)
        embedder.embed(["loads the model"])
    return embedder


def run() -> list[str]:
    made = texts()
    refs = [TextRef(key_of(text), len(text), number) for number, text in enumerate(made)]
    wanted = Texts(refs, lambda part: [made[number] for number in part])
    torch = loaded("torch")
    plain = _untouched(torch)
    pieces = np.minimum(torch.pieces(made), torch.limit)
    ways: dict[str, Callable[[], Pairs]] = {PLAIN: lambda: _plain(plain, made)}
    ways["ours, float32 by torch"] = lambda: _exact(wanted, torch)
    drafts = {"torch": loaded("torch", is_draft=True)}
    by_runtime = {"torch": torch}
    if openvino_runtime.is_there():
        by_runtime["OpenVINO"] = loaded("openvino")
        drafts["OpenVINO"] = loaded("openvino", is_draft=True)
        ways["ours, float32 by OpenVINO"] = lambda: _exact(wanted, by_runtime["OpenVINO"])
    for name, draft in drafts.items():
        ways[f"ours, drafts by {name}"] = lambda draft=draft, name=name: _drafted(
            wanted, draft, by_runtime[name]
        )
    return [
        f"{len(made):,} texts, {pieces.mean():.0f} word pieces on average as read (at most 256)",
        *_measured(ways, len(made)),
    ]


def _measured(ways: dict[str, Callable[[], Pairs]], number: int) -> Iterator[str]:
    """Take turns, so that a slow moment of the machine meets all of them; the best of each counts."""
    best: dict[str, float] = {}
    pairs: dict[str, Pairs] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            pairs[name] = np.array(way())
            best[name] = min(best.get(name, np.inf), time.perf_counter() - began)
    for name, seconds in best.items():
        ratio = f"{best[PLAIN] / seconds:.2f} x" if name != PLAIN else ""
        same = _difference(pairs[PLAIN], pairs[name])
        rate = f"{seconds:6.2f} s  {number / seconds:5.0f} texts/s  {ratio:7}"
        yield f"{name:32} {rate} {len(pairs[name]):,} pairs{same}"


def _difference(one: Pairs, other: Pairs) -> str:
    left, right = (
        dict(zip(map(tuple, p[["left", "right"]].tolist()), p["cosine"].tolist(), strict=True))
        for p in (one, other)
    )
    differing = {**left, **right}
    differing = {pair: cosine for pair, cosine in differing.items() if (pair in left) != (pair in right)}
    far = [cosine for cosine in differing.values() if abs(cosine - FLOOR) > 1e-6]
    return (
        f", the same but for {len(differing)} within 1e-6 of {FLOOR}" if not far else f", {len(far)} OTHERS"
    )


def _untouched(embedder: SentenceEmbedder) -> Any:
    """Load its model once more, as sentence-transformers has it."""
    from sentence_transformers import SentenceTransformer  # not before `loaded`, which says how threads wait

    return SentenceTransformer(str(embedder._folder), local_files_only=True)


def _plain(plain: Any, made: list[str]) -> Pairs:
    vectors: Vectors = plain.encode(made, normalize_embeddings=True, show_progress_bar=False)
    with TemporaryDirectory() as folder:
        return np.array(search_pairs(vectors, FLOOR, Path(folder), silent))


def _exact(wanted: Texts, embedder: SentenceEmbedder) -> Pairs:
    with TemporaryDirectory() as folder:
        return np.array(compared(Workspace(Path(folder)), wanted, embedder, FLOOR, silent).pairs)


def _drafted(wanted: Texts, draft: SentenceEmbedder, exact: SentenceEmbedder) -> Pairs:
    with TemporaryDirectory() as folder:
        said = compared_by_drafts(Workspace(Path(folder)), wanted, draft, exact, (FLOOR,), silent)
        print(f"  {json.dumps(said.report)}")
        return np.array(said.pairs)
