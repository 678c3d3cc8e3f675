"""Drafts in bfloat16 find the pairs of float32, and OpenVINO computes what torch computes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curation import draft_vectors, openvino_runtime
from curation.compared_texts import compared, compared_by_drafts
from curation.draft_vectors import DOUBLED, LEAST, LEAST_SAMPLE, SAMPLE, SHARE, Texts
from curation.embedding import BATCH_PIECES, SentenceEmbedder, TextRef, Vectors, batches_of, key_of
from curation.errors import WrongInput
from curation.near_duplicates import near_duplicates
from curation.pair_settings import Settings, settings_from
from curation.stage import silent
from curation.store import decisions, runs, samples
from curation.workspace import Workspace
from tests.test_near_duplicates import ROWS, add, keepers, states

NEEDS_OPENVINO = pytest.mark.skipif(
    not openvino_runtime.is_there(), reason="OpenVINO is not installed (make fast)"
)
VERBS = ("Write", "Create", "Implement", "Give me", "Produce")
THINGS = ("a list of numbers", "a list of words", "a dictionary", "a string", "a tuple of dates", "a file")
WAYS = ("sorts", "reverses", "counts", "prints", "copies", "removes duplicates from", "saves", "checks")
TEXTS = [
    f"{verb} a {tongue} function that {way} {thing}{end}"
    for verb in VERBS for way in WAYS for thing in THINGS for tongue, end in (("Python", "."), ("Rust", ""))
]  # fmt: skip


def texts_of(texts: Sequence[str]) -> Texts:
    refs = [TextRef(key_of(text), len(text), number) for number, text in enumerate(texts)]
    return Texts(refs, lambda wanted: [texts[number] for number in wanted])


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """These are about drafts, also where the processor has no bfloat16."""
    monkeypatch.setenv("WINNOW_DRAFTS", "always")


@pytest.fixture(scope="module")
def exact() -> SentenceEmbedder:
    return SentenceEmbedder()


@pytest.fixture(scope="module", params=["torch", pytest.param("openvino", marks=NEEDS_OPENVINO)])
def draft(request: pytest.FixtureRequest) -> SentenceEmbedder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WINNOW_RUNTIME", request.param)
        made = SentenceEmbedder(is_draft=True)
        made.embed(["load"])
    assert made.runtime == request.param
    return made


# --- drafts ---


@pytest.mark.parametrize("floor", [0.7, 0.8, 0.93])
def test_drafts_find_the_pairs_of_float32(
    tmp_path: Path, draft: SentenceEmbedder, exact: SentenceEmbedder, floor: float
) -> None:
    workspace, texts = Workspace(tmp_path / "w"), texts_of(TEXTS)
    true = compared(workspace, texts, exact, floor, silent)
    edges = (floor, 0.95)
    told = compared_by_drafts(Workspace(tmp_path / "drafts"), texts, draft, exact, edges, silent)
    for name in ("left", "right"):
        assert np.array_equal(told.pairs[name], true.pairs[name])
    assert len(true.pairs) > 50
    assert np.array_equal(told.pairs["cosine"] >= 0.95, true.pairs["cosine"] >= 0.95)
    band = told.report["error_band"]
    assert LEAST <= band < 0.02
    off = np.abs(told.pairs["cosine"] - true.pairs["cosine"])
    assert off.max() <= band
    near = np.minimum(*(np.abs(true.pairs["cosine"] - edge) for edge in edges)) < band / 2
    assert off[near].max(initial=0.0) < 2e-6, "near an edge cosines are those of float32"
    assert 0 < told.report["rows_in_float32"] < len(TEXTS)


def test_a_row_that_is_near_nothing_is_not_embedded_again(tmp_path: Path, draft: SentenceEmbedder) -> None:
    read: list[str] = []

    class Noting(SentenceEmbedder):
        def embed_batch(self, texts: Sequence[str]) -> Vectors:
            read.extend(texts)
            return super().embed_batch(texts)

    lone = [f"{word} {'zyx' * n}" for n, word in enumerate(("Peru", "entropy", "violin", "glacier"), 1)]
    texts = texts_of([*TEXTS[:600], *lone, *(f"{n} {n * n} {n**3}" for n in range(40))])
    told = compared_by_drafts(Workspace(tmp_path / "w"), texts, draft, Noting(), (0.97,), silent)
    assert len(read) == len(set(read)), "no text twice"
    assert told.report["rows_in_float32"] < len(texts.refs)


class Rough:
    """A draft worse than a sample shows: rows that the sample does not hold are turned a little."""

    limit = 256

    def __init__(self, exact: SentenceEmbedder, error: float, sound: set[bytes]) -> None:
        self.name, self.hash = "rough", "rough"
        self._exact, self._error, self._sound = exact, error, sound

    def pieces(self, texts: Sequence[str]) -> list[int]:
        return self._exact.pieces(texts)

    def embed_batch(self, texts: Sequence[str]) -> Vectors:
        vectors = self._exact.embed_batch(texts)
        noise = np.random.default_rng(7)
        for number, text in enumerate(texts):
            if key_of(text) not in self._sound:
                aside = noise.standard_normal(384).astype(np.float32)
                aside -= (aside @ vectors[number]) * vectors[number]
                vectors[number] += self._error * aside / np.linalg.norm(aside)
                vectors[number] /= np.linalg.norm(vectors[number])
        return vectors


def test_of_a_few_rows_few_are_in_the_sample_and_of_many_no_more_than_it_takes(
    tmp_path: Path, exact: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = (60, SHARE, 60), (300, SHARE, LEAST_SAMPLE), (400, 4, 100), (480, 1, SAMPLE)
    draft = Rough(exact, 0.0, set())
    for number, share, expected in cases:
        monkeypatch.setattr(draft_vectors, "SHARE", share)
        said: dict[str, int] = {}
        texts = texts_of([f"{text} Case {number}." for text in TEXTS[:number]])
        workspace = Workspace(tmp_path / f"{number}")
        compared_by_drafts(
            workspace,
            texts,
            draft,
            exact,
            (0.9,),
            lambda what, _, total, said=said: said.update({what: total}),
        )
        assert said["measuring the error band"] == expected, number


def test_a_band_that_was_too_narrow_is_widened(tmp_path: Path, exact: SentenceEmbedder) -> None:
    many = [f"{text} Case {n}." for n in range(2) for text in TEXTS]
    sample = set(sorted(map(key_of, many))[:SAMPLE])
    assert len(many) > 700
    texts = texts_of(many)
    true = compared(Workspace(tmp_path / "w"), texts, exact, 0.9, silent)
    told = compared_by_drafts(
        Workspace(tmp_path / "d"), texts, Rough(exact, 0.05, sample), exact, (0.9,), silent
    )
    assert told.report["error_band"] > DOUBLED * LEAST, "the sample alone would have said the least"
    ends = [set(zip(p["left"].tolist(), p["right"].tolist(), strict=True)) for p in (true.pairs, told.pairs)]
    assert ends[0] == ends[1]


def test_a_draft_run_decides_as_a_run_in_float32(tmp_path: Path) -> None:
    told = {}
    for name, settings in (("exact", settings_from({})), ("draft", settings_from({"draft": True}))):
        workspace = Workspace(tmp_path / name)
        add(workspace, list(ROWS))
        report = near_duplicates(workspace, settings).report
        run = runs.current(workspace.database, "near-duplicates")
        assert run is not None
        told[name] = states(workspace), keepers(workspace), report["pairs"], report["asked"]
        assert ("error_band" in report) == (name == "draft")
        assert len(decisions.outcomes(workspace.database, run.id)) == samples.count(workspace.database)
    assert told["exact"] == told["draft"]


def test_a_draft_run_stores_nothing_below_what_decides_unless_asked() -> None:
    assert settings_from({"draft": True}).floor == Settings.threshold
    assert settings_from({"draft": True, "ask_low": 0.75, "ask_high": 0.9}).floor == 0.75
    assert settings_from({"draft": True, "floor": 0.6}).floor == 0.6
    assert settings_from({"draft": True, "preset": "paper"}).floor == 0.8
    assert settings_from({}) == replace(Settings(), floor=0.7)


# --- batches ---


def test_batches_hold_texts_of_like_length_and_no_more_word_pieces_than_said() -> None:
    noise = np.random.default_rng(3)
    pieces = noise.integers(2, 900, 3_000).tolist()
    batches = batches_of(pieces, 256)
    assert sorted(number for batch in batches for number in batch) == list(range(3_000))
    for batch in batches:
        longest = max(min(pieces[number], 256) for number in batch)
        assert len(batch) * longest <= BATCH_PIECES
    firsts = [min(pieces[batch[0]], 256) for batch in batches]
    assert firsts == sorted(firsts, reverse=True)
    assert batches_of([], 256) == [] and batches_of([9_999], 10_000) == [[0]]


def test_batches_change_no_vector_by_more_than_the_last_bits(exact: SentenceEmbedder) -> None:
    texts = [*TEXTS[:100], "word " * 300, "", "\n", "x" * 2_000]
    together = exact.embed(texts)
    for number, text in enumerate(texts):
        assert np.abs(together[number] - exact.embed([text])[0]).max() < 1e-6


# --- the runtime ---


@NEEDS_OPENVINO
def test_openvino_computes_the_vectors_of_torch(
    exact: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_RUNTIME", "openvino")
    other = SentenceEmbedder()
    texts = [*TEXTS[:200], "word " * 300, "def f(x):\n    return x", ""]
    assert np.abs(other.embed(texts) - exact.embed(texts)).max() < 1e-6
    assert (other.runtime, exact.runtime) == ("openvino", "torch")
    assert other.hash == exact.hash, "vectors of float32 are of one kind, whoever computed them"


@NEEDS_OPENVINO
def test_a_runtime_that_computes_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = openvino_runtime._forward

    def wrong(request, names):  # type: ignore[no-untyped-def]
        compute = real(request, names)

        def forward(**inputs):  # type: ignore[no-untyped-def]
            said = compute(**inputs)
            said.last_hidden_state[:, :, 0] += 1.0
            return said

        return forward

    monkeypatch.setattr(openvino_runtime, "_forward", wrong)
    monkeypatch.setenv("WINNOW_RUNTIME", "auto")
    embedder = SentenceEmbedder()
    vectors = embedder.embed(TEXTS[:3])
    assert embedder.runtime == "torch"
    monkeypatch.setenv("WINNOW_RUNTIME", "torch")
    assert np.array_equal(vectors, SentenceEmbedder().embed(TEXTS[:3])), "torch's own transformer is back"
    monkeypatch.setenv("WINNOW_RUNTIME", "openvino")
    with pytest.raises(WrongInput, match="OpenVINO cannot compute this model"):
        SentenceEmbedder().embed(TEXTS[:3])


@pytest.mark.parametrize(
    ("wanted", "told"), [("onnx", "must be one of"), ("openvino", "make fast|requirements-fast")]
)
def test_a_runtime_that_is_none_or_not_here_is_told(
    monkeypatch: pytest.MonkeyPatch, wanted: str, told: str
) -> None:
    monkeypatch.setenv("WINNOW_RUNTIME", wanted)
    monkeypatch.setattr(openvino_runtime, "is_there", lambda: False)
    with pytest.raises(WrongInput, match=told):
        SentenceEmbedder().embed(["x"])
