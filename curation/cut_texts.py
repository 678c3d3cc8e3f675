"""Cuts texts into word pieces once: they are counted to make batches, and then read by the model.

sentence-transformers would cut each batch again and take its pieces through Python lists: of 500 texts that
was 0.30 of 0.53 s that are not the transformer's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Pieces = npt.NDArray[np.int32]  # what a tokenizer numbers its word pieces by
IDS, MASK, KINDS = "input_ids", "attention_mask", "token_type_ids"
# The first is longer than any model here reads. What a model makes of these tells whether it may be spared.
PROBES = ["def add(a, b):\n    return a + b\n" * 2000, "", "  Sort É, 漢字 and 🎉! ", "[SEP] [PAD] x\x00"]


class CutTexts:
    """The word pieces of the texts that were counted last, for the model that reads them next."""

    def __init__(self, model: Any, limit: int) -> None:
        """Spare a sentence-transformers model its own cutting, where it comes to the same.

        `limit`: word pieces of a text that it reads."""
        from tokenizers import Tokenizer

        said = model.tokenizer.backend_tokenizer.to_str()
        self._whole, self._read = Tokenizer.from_str(said), Tokenizer.from_str(said)
        self._whole.no_padding()
        self._whole.no_truncation()
        self._read.no_padding()
        self._read.enable_truncation(limit)
        self._marks = self._whole.num_special_tokens_to_add(False)
        self._padding = model.tokenizer.pad_token_id
        self._last: dict[str, Pieces] = {}
        self._own = model[0].preprocess
        own = self._own(PROBES, prompt=None)
        self._names = [name for name in own if name != "modality"]
        if self._comes_to(own):
            model[0].preprocess = self.preprocess

    def count(self, texts: Sequence[str]) -> list[int]:
        """Count the word pieces of each text, the marks at its ends included. Keeps those that are read."""
        cut = self._whole.encode_batch_fast(list(texts), add_special_tokens=False)
        self._last = {
            text: np.array(self._read.post_process(one).ids, dtype=np.int32)
            for text, one in zip(texts, cut, strict=True)
        }
        return [len(one) + self._marks for one in cut]

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **other: Any) -> dict[str, Any]:
        """Give what the model's own `preprocess` would; for texts that were not counted, it is asked."""
        last = self._last  # another thread may count meanwhile
        if prompt or other or not all(isinstance(one, str) and one in last for one in inputs):
            found: dict[str, Any] = self._own(inputs, prompt=prompt, **other)
            return found
        return self._features([last[one] for one in inputs])

    def _features(self, cut: list[Pieces]) -> dict[str, Any]:
        """Pad to the longest: tensors of texts x word pieces."""
        import torch

        lengths = np.array([len(one) for one in cut])
        is_read = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(is_read.shape, self._padding, dtype=np.int64)
        ids[is_read] = np.concatenate(cut)
        made = {IDS: ids, KINDS: np.zeros_like(ids), MASK: is_read.astype(np.int64)}
        return {name: torch.from_numpy(made[name]) for name in self._names} | {"modality": "text"}

    def _comes_to(self, own: dict[str, Any]) -> bool:
        if own.get("modality") != "text" or not {IDS, MASK} <= set(self._names) <= {IDS, MASK, KINDS}:
            return False
        self.count(PROBES)
        ours = self._features([self._last[one] for one in PROBES])
        return all(np.array_equal(ours[name].numpy(), own[name].numpy()) for name in self._names)
