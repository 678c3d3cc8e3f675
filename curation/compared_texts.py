"""Texts -> vectors -> their pairs from a floor on: in float32 throughout, or by drafts (draft_vectors).

Drafts are taken where they are quicker (draft_choice)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from curation import draft_vectors
from curation.draft_choice import pace_if_slow
from curation.draft_vectors import Texts
from curation.embedding import Embedder, VectorCache, Vectors, embed_missing
from curation.known_pairs import find_known, note
from curation.npy_pieces import pieces
from curation.pair_list import PAIR, Pairs, keep_whole
from curation.pairs import search_pairs
from curation.records import digest
from curation.stage import Progress
from curation.workspace import Workspace


@dataclass(frozen=True)
class Compared:
    """Pairs of texts at or above a floor, by the places of the texts; the same either way."""

    vectors: Vectors  # in float32, or drafts but for the texts of pairs near an edge
    pairs: Pairs  # mapped: for their number, or a few of them
    file: Path  # the list
    report: dict[str, Any]

    @property
    def folder(self) -> str:
        """Name the list's folder in the workspace's `pairs`."""
        return self.file.parent.name

    def pieces(self, at_once: int | None = None) -> Iterator[Pairs]:
        """Give the pairs in order, a piece at a time."""
        return (found for _, found in pieces(self.file, PAIR, at_once))


def compared(
    workspace: Workspace, texts: Texts, embedder: Embedder, floor: float, progress: Progress
) -> Compared:
    """Embed the texts that are new, and find every pair. Raises what embedding raises."""
    cache = VectorCache(workspace.embeddings / embedder.hash)
    embed_missing(cache, embedder, texts.refs, texts.read, progress, "embedding")
    vectors = cache.gather(texts.keys)
    folder = folder_name(embedder.hash, floor, texts.keys)
    pairs, before = _searched(workspace, embedder, texts.keys, vectors, floor, folder, progress)
    return Compared(
        vectors,
        pairs,
        workspace.pairs / folder / "pairs.npy",
        {"rows_compared_before": before, **_of(cache, texts, embedder)},
    )


def compared_by_drafts(
    workspace: Workspace, texts: Texts, draft: Embedder, exact: Embedder, edges: Sequence[float],
    progress: Progress,
) -> Compared:  # fmt: skip
    """Give the same pairs, from the lowest edge on, with fewer texts embedded in float32.

    `edges`: cosines that decide something; no pair lies on another side of one than in float32. Where drafts
    do not pay on this machine all is float32, and the report says `draft_pace`. Raises what embedding raises.
    """
    floor = min(edges)
    cache = VectorCache(workspace.embeddings / draft.hash)
    if any(key not in cache for key in texts.keys):  # else no model is loaded for drafts
        progress("timing bfloat16 beside float32", 0, 0)
        if (pace := pace_if_slow(draft, exact)) is not None:
            found = compared(workspace, texts, exact, floor, progress)
            return replace(found, report={**found.report, "draft_pace": round(pace, 2)})
    before = 0

    def search(vectors: Vectors, lowest: float) -> Path:
        nonlocal before
        place = folder_name(draft.hash, lowest, texts.keys)
        _, before = _searched(workspace, draft, texts.keys, vectors, lowest, place, progress)
        return workspace.pairs / place / "pairs.npy"

    exact_cache = VectorCache(workspace.embeddings / exact.hash)
    said = draft_vectors.drafted(texts, draft, exact, (cache, exact_cache), edges, search, progress)
    folder = folder_name(f"{exact.hash} by {draft.hash}: {sorted(edges)}", floor, texts.keys)
    pairs = keep_whole(workspace.pairs / folder, said.pairs)
    told = {"error_band": said.band, "rows_in_float32": said.rechecked, "rows_compared_before": before}
    return Compared(
        said.vectors, pairs, workspace.pairs / folder / "pairs.npy", {**told, **_of(cache, texts, draft)}
    )


def _of(cache: VectorCache, texts: Texts, embedder: Embedder) -> dict[str, Any]:
    return {
        "cut_short": cache.cut_short(texts.keys, embedder.limit),
        "damaged_vector_blocks": len(cache.damaged),
    }


def folder_name(model_hash: str, floor: float, keys: Sequence[bytes]) -> str:
    """Name the folder of the pairs of these vectors, in this order, down to this floor."""
    return digest(model_hash, repr(floor), sha256(b"".join(keys)).hexdigest())


def _searched(
    workspace: Workspace, embedder: Embedder, keys: Sequence[bytes], vectors: Vectors, floor: float,
    folder: str, progress: Progress,
) -> tuple[Pairs, int]:  # fmt: skip
    """Find the pairs at or above the floor; gives them, and how many rows had met in an earlier search."""
    known = find_known(workspace.pairs, embedder.hash, floor, keys, but=folder)
    note(workspace.pairs / folder, embedder.hash, floor, keys)
    found = search_pairs(vectors, floor, workspace.pairs / folder, progress, known)
    return found, 0 if known is None else int((known.was >= 0).sum())
