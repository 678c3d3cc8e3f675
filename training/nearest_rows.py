"""The training rows nearest to a held-out row: what the model could have learned it from, and did not.

Reads the vectors that near-duplicates made of the version's rows, by its model and of its text; no torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from curation import pair_settings
from curation.assemble import read_rows
from curation.embedding import VectorCache, key_of
from curation.errors import WrongInput
from curation.workspace import Workspace

MOST = 3  # neighbours of a row


@dataclass(frozen=True)
class NearRow:
    """A row of the training split."""

    id: str
    instruction: str
    cosine: float


def nearest_rows(
    workspace: Workspace, version: str, ids: Sequence[str], most: int = MOST
) -> dict[str, list[NearRow]]:
    """Give each of these rows of a version its nearest training rows; ties go to the smaller id.

    A row without a vector has none. Raises WrongInput when the version does not exist, was changed, or its
    rows were never compared.
    """
    manifest, file = read_rows(workspace, version)
    settings, model = _compared_by(manifest, version)
    text_of = pair_settings.text_to_compare(settings)
    wanted = set(ids)
    keys: dict[str, bytes] = {}
    train: list[tuple[str, str, bytes]] = []  # id, instruction, key
    with file.open(encoding="utf-8", newline="\n") as lines:
        for row in map(json.loads, lines):
            key = key_of(text_of(SimpleNamespace(**row)))
            if row["split"] == "train":
                train.append((row["id"], row["instruction"], key))
            elif row["id"] in wanted:
                keys[row["id"]] = key
    cache = VectorCache(workspace.embeddings / model)
    train = sorted(one for one in train if one[2] in cache)
    asked = [id for id in ids if id in keys and keys[id] in cache]
    if not train or not asked:
        return {}
    cosines = cache.gather([keys[id] for id in asked]) @ cache.gather([key for _, _, key in train]).T
    return {
        id: [_near(train[n], row[n]) for n in np.argsort(-row, kind="stable")[:most]]
        for id, row in zip(asked, cosines, strict=True)
    }


def _near(row: tuple[str, str, bytes], cosine: np.float32) -> NearRow:
    return NearRow(row[0], row[1], float(cosine))


def _compared_by(manifest: Mapping[str, Any], version: str) -> tuple[pair_settings.Settings, str]:
    """Give the settings and the model's hash that near-duplicates had when the version was frozen."""
    stage = manifest.get("stages", {}).get(pair_settings.STAGE)
    if stage is None:
        raise WrongInput(
            f"The rows of {version} were never compared with each other; run near-duplicates and freeze "
            "again to see the training rows nearest to a held-out one"
        )
    given = stage["settings"]
    return pair_settings.Settings(text=given["text"]), str(given["model_hash"])
