"""110,000 real texts and their vectors, made once: names and documentation, or first lines, of functions of
the packages that are installed here, and the shared instruction sets where they are present.

Texts end after 96 characters, about 24 word pieces, so that a machine without a GPU embeds all of them within
a quarter of an hour; the vectors are kept beside the temporary files of this machine.
"""

import ast
import gzip
import json
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from curation.embedding import SentenceEmbedder, TextRef, VectorCache, Vectors, embed_missing, key_of
from curation.records import question_of

ROWS = 110_000
LENGTH = 96  # characters
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "instructions"
CACHE = Path(tempfile.gettempdir()) / "winnow-bench"
ORDER = 976  # seed of the order


def texts(number: int = ROWS) -> list[str]:
    """Give so many texts, mixed, the same on every call on one machine; fewer where fewer are found."""
    found = [text[:LENGTH] for text in (*_shared(), *functions())]
    order = np.random.default_rng(ORDER).permutation(len(found))
    return [found[at] for at in order[:number]]


def _shared() -> Iterator[str]:
    for file in sorted(SHARED.glob("*.json*.gz")):
        yield from (question_of(row["instruction"], row.get("input", "")) for row in read_rows(file))


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read one of the shared sets."""
    with gzip.open(file, "rt") as opened:
        whole = opened.read()
    return list(json.loads(whole) if file.name.endswith(".json.gz") else map(json.loads, whole.splitlines()))


def functions() -> Iterator[str]:
    for file in sorted(Path(sysconfig.get_path("purelib")).rglob("*.py")):
        try:
            source = file.read_text()
            tree = ast.parse(source)
        except (OSError, SyntaxError, ValueError):
            continue
        lines = source.splitlines()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                said = ast.get_docstring(node)
                name = node.name.replace("_", " ")
                yield f"{name}: {said}" if said else "\n".join(lines[node.lineno - 1 : node.end_lineno])


def vectors(number: int = ROWS) -> Vectors:
    """Give unit vectors of the texts, (number, 384); embeds those that are new, which takes a while."""
    made = texts(number)
    cache, embedder = VectorCache(CACHE / "vectors"), SentenceEmbedder()
    refs = [TextRef(key_of(text), len(text), at) for at, text in enumerate(made)]
    embed_missing(cache, embedder, refs, lambda part: [made[at] for at in part], lambda *_: None, "embedding")
    return cache.gather([ref.key for ref in refs])
