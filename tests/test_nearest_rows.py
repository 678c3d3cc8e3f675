"""The training rows nearest to held-out ones: by the vectors of near-duplicates, held against the model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation import near_duplicates, pair_settings
from curation.assemble import Settings as AssembleSettings
from curation.assemble import assemble, read_rows
from curation.embedding import SentenceEmbedder
from curation.errors import WrongInput
from curation.workspace import Workspace
from tests.lora_workspace import THINGS, VERBS, freeze, rows
from training.nearest_rows import nearest_rows


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with two versions: one frozen before its rows were compared, one after."""
    made = freeze(tmp_path_factory.mktemp("nearest") / "workspace", rows(40), "uncompared")
    near_duplicates.near_duplicates(made, pair_settings.Settings(threshold=0.99, floor=0.7, budget=0))
    assemble(made, "compared", AssembleSettings(validation=0.2, open_cases="keep"))
    return made


def split(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    found = map(json.loads, read_rows(workspace, "compared")[1].read_text().splitlines())
    return [row for row in found if row["split"] == name]


def test_they_are_those_of_the_model(workspace: Workspace) -> None:
    held_out, train = split(workspace, "validation"), split(workspace, "train")
    model = SentenceEmbedder()
    left, right = (model.embed([row["instruction"] for row in some]) for some in (held_out, train))
    cosines = left @ right.T

    found = nearest_rows(workspace, "compared", [row["id"] for row in held_out])

    assert list(found) == [row["id"] for row in held_out] and len(held_out) >= 4
    for row, expected in zip(held_out, cosines, strict=True):
        near = found[row["id"]]
        best = np.sort(expected)[::-1][:3]
        assert [one.cosine for one in near] == pytest.approx(best.tolist(), abs=1e-5)
        text = {one["id"]: one["instruction"] for one in train}
        assert [one.instruction for one in near] == [text[one.id] for one in near]
        assert near[0].instruction.split()[0] in VERBS and any(
            thing in near[0].instruction for thing in THINGS
        )


def test_a_training_row_is_never_asked_about(workspace: Workspace) -> None:
    id = split(workspace, "train")[0]["id"]
    assert nearest_rows(workspace, "compared", [id, "unknown"]) == {}


def test_rows_without_vectors_have_no_neighbours(workspace: Workspace, tmp_path: Path) -> None:
    ids = [row["id"] for row in split(workspace, "validation")]
    kept = workspace.embeddings.rename(tmp_path / "elsewhere")
    try:
        assert nearest_rows(workspace, "compared", ids) == {}
    finally:
        kept.rename(workspace.embeddings)


def test_a_version_that_was_never_compared_says_so(workspace: Workspace) -> None:
    with pytest.raises(
        WrongInput, match="uncompared were never compared with each other; run near-duplicates"
    ):
        nearest_rows(workspace, "uncompared", ["any"])
