"""Documents that are copies of another one, or nearly: which stays, which goes, and how alike they are.

Candidates come from MinHash, and a pair counts only when the Jaccard similarity of the token 5-grams
themselves says so. Documents are walked in the order of their hashes: one without a kept twin is kept, so
a chain a~b~c keeps a and c, and the answer does not depend on the order in which documents arrive.

A document takes about 1.8 KB of memory, however long it is (measured: 175 MB for 100,000), and 8 bytes a
distinct 5-gram on disk, in a temporary file without a name, which vanishes with the process.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

# Lilac's (signals/near_dup.py) and The Stack's first near-deduplication. Magicoder's script and StarCoder
# take 0.7, to make large training sets small. Here a document gives one snippet of 15 lines at most: two
# documents that differ in every fourth line have much to give twice, and what is still alike afterwards is
# found again among the samples.
THRESHOLD = 0.85
# As Magicoder's script: 5-grams, and no documents of fewer than 10 tokens (recipes.md 1.5). Those are
# compared as texts only.
GRAM = 5
MIN_TOKENS = 10
# Letters, digits and underscores of any alphabet. Magicoder's [A-Za-z_0-9] drops all others, and two
# tables of translations would differ in nothing.
TOKEN = re.compile(r"\w+")

# Signatures have 120 numbers, cut into bands of r: a pair of similarity s shares a band with probability
# 1 - (1 - s^r)^(120 / r). r is the largest that misses a pair at the threshold less often than this: 5 at
# 0.85 (one in 1.3 million). Every second pair at 0.5 is looked at then, which costs only the look.
NUMBERS = 120
MISSED = 1e-5
SLACK = 0.2  # 6 standard deviations of the share of 120 numbers that agree at 0.85
SEED = 976
BATCH = 1 << 20  # 5-grams signed at a time: 8 MB

TOKEN_HASHES = 1 << 18  # tokens whose hashes are remembered: some 40 MB

Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]
Show = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True, slots=True)
class Twin:
    """Why a document goes: the kept one that it resembles."""

    keeper: str  # hash of a document that is kept
    score: float  # Jaccard similarity of their token 5-grams; 1.0 for the same text
    reason: str  # "same_text" | "near_duplicate"


def twins(
    documents: Iterable[tuple[str, str]],
    threshold: float = THRESHOLD,
    folder: Path | None = None,
    show: Show | None = None,
) -> dict[str, Twin]:
    """Give, for each document that goes, its keeper. Documents are (hash, text); a hash counts once.

    Two texts are the same when they differ only in line ends and in space at the end of lines or of the
    text. `folder` is where the temporary file lies (None: where the system puts such files).
    Raises ValueError for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a threshold lies in (0, 1], not at {threshold}")
    with tempfile.TemporaryFile(dir=folder) as file:
        texts = _Texts(file)
        for name, text in documents:
            texts.add(name, text)
        texts.close()
        near = _near(texts, threshold, show or (lambda *_: None))
    return dict(_named(texts, near))


def same_text(text: str) -> str:
    """Give the form in which texts are compared: LF line ends, no space at the end of a line or the text."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(map(str.rstrip, lines)).rstrip()


def grams(text: str) -> Hashes:
    """Give the distinct token 5-grams of a text as sorted 64-bit hashes; none below MIN_TOKENS tokens.

    Of a million different 5-grams two share a hash once in 37 million tries, so that a similarity computed
    from hashes is that of the 5-grams.
    """
    return _grams(text, _TokenHashes())


def similarity(left: Hashes, right: Hashes) -> float:
    """Give the Jaccard similarity of two sorted sets."""
    if not len(left) or not len(right):
        return 0.0
    if len(left) > len(right):
        left, right = right, left
    place = np.searchsorted(right, left)
    place[place == len(right)] = 0
    shared = int(np.count_nonzero(right[place] == left))
    return shared / (len(left) + len(right) - shared)


class _TokenHashes(dict[str, int]):
    """The 64-bit hash of each token: code says the same words again and again."""

    def __missing__(self, token: str) -> int:
        if len(self) >= TOKEN_HASHES:
            self.clear()
        # A text may hold half a surrogate pair, which UTF-8 has no bytes for.
        data = token.encode(errors="surrogatepass")
        found = int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
        self[token] = found
        return found


# Odd numbers whose differences are odd multiples of small powers of two, so that an exchange of two tokens
# changes the sum as surely as a new token does.
WEIGHTS = np.array(
    [int.from_bytes(blake2b(b"%d" % n, digest_size=8).digest(), "little") | 1 for n in range(GRAM)],
    dtype=np.uint64,
)


def _grams(text: str, hashes: _TokenHashes) -> Hashes:
    found = TOKEN.findall(text)
    tokens = np.fromiter(map(hashes.__getitem__, found), dtype=np.uint64, count=len(found))
    if len(tokens) < MIN_TOKENS:
        return tokens[:0]
    last = len(tokens) - GRAM + 1
    total = np.zeros(last, dtype=np.uint64)
    for place, weight in enumerate(WEIGHTS):
        total += tokens[place : place + last] * weight  # modulo 2^64
    return np.unique(total)


class _Texts:
    """The distinct texts: their names, their signatures, and their 5-grams in a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number: dict[bytes, int] = {}  # 128 bits of a text's hash: its number
        self._hashes = _TokenHashes()
        self._sizes: list[int] = []
        self._signed: list[Signatures] = []
        self._waiting: list[Hashes] = []  # not signed yet
        self._waiting_grams = 0
        self.of: dict[str, int] = {}  # the number of the text of each document
        self.first: list[str] = []  # the lowest hash of the documents of each text

    def add(self, name: str, text: str) -> None:
        """Take in a document; a name that is there already changes nothing."""
        if name in self.of:
            return
        text = same_text(text)
        key = blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        number = self.of[name] = self._number.setdefault(key, len(self._number))
        if number < len(self.first):
            self.first[number] = min(self.first[number], name)
            return
        self.first.append(name)
        found = _grams(text, self._hashes)
        self._file.write(found.tobytes())
        self._sizes.append(len(found))
        self._waiting.append(found)
        self._waiting_grams += len(found)
        if self._waiting_grams >= BATCH:
            self._sign()

    def close(self) -> None:
        """Say that all texts are there: now they can be read."""
        self._sign()
        self._number.clear()
        self._hashes.clear()
        self.sizes = np.array(self._sizes, dtype=np.int64)  # 5-grams of each text
        self._starts = np.cumsum([0, *self._sizes], dtype=np.int64)
        # A row a text, NUMBERS each.
        self.signatures = np.concatenate([np.empty((0, NUMBERS), dtype=np.uint32), *self._signed])
        self._signed.clear()
        self._sizes.clear()

    def grams(self, number: int) -> Hashes:
        """Read the 5-grams of a text."""
        self._file.seek(8 * int(self._starts[number]))
        return np.frombuffer(self._file.read(8 * int(self.sizes[number])), dtype=np.uint64)

    def _sign(self) -> None:
        from rensa import RMinHash

        if not self._waiting:
            return
        ends = np.cumsum([0, *map(len, self._waiting)], dtype=np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            np.concatenate(self._waiting), ends, NUMBERS, SEED
        )
        self._signed.append(np.array(matrix.to_rows(), dtype=np.uint32))
        self._waiting.clear()
        self._waiting_grams = 0


def _near(texts: _Texts, threshold: float, show: Show) -> dict[int, tuple[int, float]]:
    """Walk the texts in the order of their hashes. Gives for each that goes its keeper and the score."""
    bands = _bands(texts.signatures, _rows(threshold))
    order = sorted(range(len(texts.first)), key=texts.first.__getitem__)
    kept: dict[tuple[int, int], list[int]] = {}  # the kept texts of each band that several texts share
    gone: dict[int, tuple[int, float]] = {}
    for done, number in enumerate(order):
        if done % 1_000 == 0:
            show("comparing documents", done, len(order))
        places = [(band, int(group)) for band, group in enumerate(bands[number]) if group >= 0]
        if not places or not texts.sizes[number]:
            continue
        candidates = {other for place in places for other in kept.get(place, ())}
        best = _best(texts, number, candidates, threshold)
        if best is not None:
            gone[number] = best
            continue
        for place in places:
            kept.setdefault(place, []).append(number)
    show("comparing documents", len(order), len(order))
    return gone


def _best(texts: _Texts, number: int, candidates: set[int], threshold: float) -> tuple[int, float] | None:
    """Give the candidate most like a text and how alike they are, or None if none is alike enough."""
    mine = texts.grams(number)
    scored = (
        (-similarity(mine, texts.grams(other)), texts.first[other], other)
        for other in _possible(texts, number, candidates, threshold)
    )
    alike = [found for found in scored if -found[0] >= threshold]
    if not alike:
        return None
    score, _, other = min(alike)  # of equally like ones the lowest hash
    return other, -score


def _possible(texts: _Texts, number: int, candidates: set[int], threshold: float) -> list[int]:
    """Leave out what cannot be alike enough, without a look at the 5-grams.

    The smaller set cannot share more than all of itself, and signatures agree in about as many places as
    the sets are alike.
    """
    others = np.fromiter(candidates, dtype=np.int64, count=len(candidates))
    size, sizes = texts.sizes[number], texts.sizes[others]
    others = others[np.minimum(size, sizes) >= threshold * np.maximum(size, sizes)]
    agree = (texts.signatures[others] == texts.signatures[number]).mean(axis=1)
    return [int(other) for other in others[agree >= threshold - SLACK]]


def _rows(threshold: float) -> int:
    """Give how many numbers of a signature make a band; see MISSED."""
    lengths = [rows for rows in range(1, NUMBERS + 1) if NUMBERS % rows == 0]
    return max((rows for rows in lengths if (1 - threshold**rows) ** (NUMBERS / rows) < MISSED), default=1)


def _bands(signatures: Signatures, rows: int) -> npt.NDArray[np.int32]:
    """Number the groups of texts that agree in a band: a row a text, -1 where a text is alone."""
    found = np.full((len(signatures), NUMBERS // rows), -1, dtype=np.int32)
    for band in range(NUMBERS // rows):
        numbers = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        _, group, count = np.unique(numbers, axis=0, return_inverse=True, return_counts=True)
        group = group.reshape(-1)
        found[:, band] = np.where(count[group] > 1, group, -1)
    return found


def _named(texts: _Texts, near: dict[int, tuple[int, float]]) -> Iterator[tuple[str, Twin]]:
    """Say of each document that goes whom it resembles: the keeper of its text, or its text's own keeper."""
    for name, number in texts.of.items():
        if number in near:
            keeper, score = near[number]
            yield name, Twin(texts.first[keeper], score, "near_duplicate")
        elif name != texts.first[number]:
            yield name, Twin(texts.first[number], 1.0, "same_text")
