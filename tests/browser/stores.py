"""Stores for browser tests whose questions are known beforehand: vectors are chosen, no model is loaded."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curation import clean, near_duplicates, pair_settings
from curation.embedding import SentenceEmbedder, VectorCache, key_of
from curation.import_samples import import_samples
from curation.workspace import Workspace

GRAY = 0.84  # in the middle of the band that is asked about
SIZE = 384  # numbers a vector
RANDOM_SEED = 20


def gray_pairs(number: int) -> list[dict[str, Any]]:
    """Give rows of which each even one and the next are a gray pair."""
    verbs = ("Sort", "Order")
    return [
        {
            "instruction": f"{verbs[n % 2]} the list of case {n // 2}",
            "output": f"answer {n}: " + "x = 1\n" * (1 + n % 2),
        }
        for n in range(2 * number)
    ]


def paired_vectors(texts: Sequence[Sequence[str]]) -> dict[bytes, Any]:
    """Give each group of texts a direction of its own; within a group all but the first lie GRAY from it."""
    noise = np.random.default_rng(RANDOM_SEED)
    vectors: dict[bytes, Any] = {}
    for group in texts:
        first = _direction(noise)
        for n, text in enumerate(group):
            aside = _direction(noise)
            aside -= (aside @ first) * first
            aside /= np.linalg.norm(aside)
            vector = first if n == 0 else GRAY * first + (1 - GRAY**2) ** 0.5 * aside
            vectors.setdefault(key_of(text), vector)
    return vectors


def _direction(noise: np.random.Generator) -> Any:
    vector = noise.standard_normal(SIZE)
    return vector / np.linalg.norm(vector)


def keep_vectors(workspace: Path, vectors: Mapping[bytes, Any]) -> None:
    cache = VectorCache(workspace / "embeddings" / SentenceEmbedder().hash)
    cache.add(list(vectors), np.array(list(vectors.values()), dtype=np.float32), [9] * len(vectors))


def write_lines(rows: Iterable[Mapping[str, Any]], file: Path) -> Path:
    """Write rows as JSONL, every character as it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def store_of_gray_pairs(folder: Path, number: int) -> Workspace:
    """Make a store in which `number` pairs wait for a person, and nothing else does."""
    rows = gray_pairs(number)
    questions = [[rows[n]["instruction"], rows[n + 1]["instruction"]] for n in range(0, len(rows), 2)]
    answers = [[row["output"]] for row in rows]
    keep_vectors(folder, paired_vectors([*questions, *answers]))
    workspace = Workspace(folder)
    import_samples(workspace, str(write_lines(rows, folder.parent / f"{folder.name}.jsonl")))
    clean.clean(workspace)
    near_duplicates.near_duplicates(workspace, pair_settings.Settings())
    return workspace
