"""What the insights measured, on disk: an array a measure, one number a row, and a manifest written last.

insights/HASH/ belongs to exactly these rows, this benchmark and these settings, so it is either whole or made
again, and never changed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.atomic import atomic_write

MANIFEST = "manifest.json"
# Of each array: what its numbers are. All have one number a row, in import order.
KINDS: Mapping[str, str] = {
    "seqs": "<i8",  # the row
    "sets": "<i4",  # its set: place in the manifest's `sets`
    "scores": "<f4",  # highest TF-IDF cosine with a task
    "items": "<i4",  # number of that task in the store
    "problem_tokens": "<i4",
    "solution_tokens": "<i4",
    "languages": "u1",  # place in the manifest's `languages`
    "rules": "u1",  # what named the language: place in fence_language.RULES
    "categories": "u1",  # place in the manifest's `categories`; absent when they were not asked for
}
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tables:
    """The arrays of KINDS by their names, and what the manifest says of them."""

    arrays: Mapping[str, Array]
    manifest: Mapping[str, Any]


def write_tables(folder: Path, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Tables:
    """Keep arrays and, last, the manifest that makes them count."""
    kinds = {name: np.ascontiguousarray(array, dtype=KINDS[name]) for name, array in arrays.items()}
    hashes = {}
    for name, array in kinds.items():
        packed = BytesIO()
        np.save(packed, array, allow_pickle=False)
        hashes[name] = sha256(packed.getvalue()).hexdigest()
        with atomic_write(folder / f"{name}.npy") as file:
            file.write(packed.getvalue())
    manifest = {**about, "sha256": hashes}
    with atomic_write(folder / MANIFEST) as file:
        file.write(json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True).encode())
    return Tables(kinds, manifest)


def read_tables(folder: Path) -> Tables | None:
    """Read a result back; None when it is not whole or not what its manifest says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        arrays = {}
        for name, expected in manifest["sha256"].items():
            data = (folder / f"{name}.npy").read_bytes()
            if sha256(data).hexdigest() != expected:
                return None
            arrays[name] = np.load(BytesIO(data), allow_pickle=False)
        shape = arrays["seqs"].shape
        kinds = {name: np.dtype(KINDS[name]) for name in arrays}
        is_right = all(one.dtype == kinds[name] and one.shape == shape for name, one in arrays.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Tables(arrays, manifest) if is_right else None
