"""Drafts are taken where bfloat16 is quicker; elsewhere all is float32, and everybody is told."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from curation import compared_texts
from curation.compared_texts import compared, compared_by_drafts
from curation.draft_choice import BATCH, HOPELESS, LINE, PAYS, pace_if_slow
from curation.draft_vectors import Texts
from curation.embedding import SentenceEmbedder, TextRef, Vectors, key_of
from curation.errors import WrongInput
from curation.stage import silent
from curation.workspace import Workspace
from tests.workspaces import CommandLine, small_set, write_jsonl

MOMENT = 0.02  # seconds that float32 takes for a text here: far above what a busy machine adds


class Paced:
    """Embeds nothing, at a pace."""

    name, hash, limit = "paced", "paced", 256

    def __init__(self, pace: float) -> None:
        self.pace = pace
        self.read: list[Sequence[str]] = []

    def pieces(self, texts: Sequence[str]) -> list[int]:
        return [1] * len(texts)

    def embed_batch(self, texts: Sequence[str]) -> Vectors:
        self.read.append(texts)
        time.sleep(self.pace * MOMENT * len(texts))
        return np.zeros((len(texts), 4), dtype=np.float32)


@pytest.fixture(autouse=True)
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINNOW_DRAFTS", raising=False)


@pytest.mark.parametrize(("pace", "pays"), [(0.3, True), (1.0, False), (3.0, False)])
def test_drafts_pay_where_a_batch_of_them_takes_clearly_less_than_float32(pace: float, pays: bool) -> None:
    draft, exact = Paced(pace), Paced(1.0)
    told = pace_if_slow(draft, exact)
    assert (told is None) == pays
    if told is not None:
        assert told > PAYS and told == pytest.approx(pace, rel=0.3)
    assert draft.read[-1] == BATCH and exact.read[-1] == BATCH


def test_a_processor_without_bfloat16_is_known_by_one_line(tmp_path: Path) -> None:
    draft, exact = Paced(3 * HOPELESS), Paced(1.0)
    told = pace_if_slow(draft, exact)
    assert told is not None and told > HOPELESS
    assert all(texts == [LINE] for texts in draft.read), "a batch would take a minute there"


def test_who_says_always_gets_drafts_untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_DRAFTS", "always")
    draft = Paced(3 * HOPELESS)
    assert pace_if_slow(draft, Paced(1.0)) is None
    assert draft.read == []
    monkeypatch.setenv("WINNOW_DRAFTS", "never")
    with pytest.raises(WrongInput, match="WINNOW_DRAFTS='never' must be one of auto, always"):
        pace_if_slow(draft, Paced(1.0))


def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared_texts, "pace_if_slow", lambda draft, exact: 53.125)


def test_where_drafts_do_not_pay_all_is_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"Write a function that sorts {what}." for what in ("a list", "lists", "a file", "words", "tea")]
    refs = [TextRef(key_of(text), len(text), number) for number, text in enumerate(lines)]
    texts = Texts(refs, lambda wanted: [lines[number] for number in wanted])
    exact, draft = SentenceEmbedder(), SentenceEmbedder(is_draft=True)
    true = compared(Workspace(tmp_path / "w"), texts, exact, 0.5, silent)
    slow(monkeypatch)
    workspace = Workspace(tmp_path / "slow")
    told = compared_by_drafts(workspace, texts, draft, exact, (0.5, 0.9), silent)
    assert told.pairs.tolist() == true.pairs.tolist() and len(true.pairs) > 2
    assert np.array_equal(told.vectors, true.vectors)
    assert told.report["draft_pace"] == 53.12 and "error_band" not in told.report
    assert not (workspace.embeddings / draft.hash).exists(), "no draft was made"


def test_drafts_that_are_there_are_used_without_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search again over embedded rows loads no model."""
    lines = [f"Count {what}." for what in ("sheep", "the sheep", "words")]
    refs = [TextRef(key_of(text), len(text), number) for number, text in enumerate(lines)]
    texts = Texts(refs, lambda wanted: [lines[number] for number in wanted])
    monkeypatch.setenv("WINNOW_DRAFTS", "always")
    exact, workspace = SentenceEmbedder(), Workspace(tmp_path / "w")
    compared_by_drafts(workspace, texts, SentenceEmbedder(is_draft=True), exact, (0.9,), silent)
    slow(monkeypatch)
    again = SentenceEmbedder(is_draft=True)
    told = compared_by_drafts(workspace, texts, again, SentenceEmbedder(), (0.9,), silent)
    assert "error_band" in told.report and again._loaded is None


def test_the_command_line_says_that_drafts_brought_nothing(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch)
    cli.done("samples", "import", write_jsonl(tmp_path / "set.jsonl", small_set()), "--licence", "MIT")
    ran = cli("near-duplicates", "--draft", json_wanted=False)
    assert ran.status == 0
    assert (
        "--draft brings nothing on this machine: bfloat16 took 53.1 times the seconds of float32 on a few "
        "lines, and rows near a deciding cosine need both; so everything was embedded in float32"
    ) in ran.err
    ran = cli("near-duplicates", "--draft")
    assert ran.report["draft_pace"] == 53.12, "and the run still says so when it is asked for again"
