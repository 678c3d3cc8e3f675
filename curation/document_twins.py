"""Documents that are copies of another one, or nearly: which stays, which goes, and how alike they are.

Documents come as signatures, which are made once from a document's text and can be kept. Candidates come
from MinHash, and a pair counts only when the Jaccard similarity of the token 5-grams themselves says so: only
for those few pairs texts are read again. Documents are walked in the order of their hashes: one without a
kept twin is kept, so a chain a~b~c keeps a and c, and the answer does not depend on the order in which
documents arrive.

A document takes about 1 KB of memory, however long it is (measured: 94 MB for 100,000), and the 5-grams of
documents that resemble others at most 128 MB in all (CACHED).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from curation.records import DocumentSignature

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
# The version of a signature's rule. Raise it with any change of what `sign` gives (GRAM, MIN_TOKENS, TOKEN,
# NUMBERS, SEED, `same_text`; a test holds known signatures against it): signatures that were kept are made
# anew then.
RULE = 1

CACHED = 16 << 20  # 5-grams kept at hand: 128 MB

STORED = np.dtype("<u4")  # the numbers of a signature, wherever it is kept

Hashes = npt.NDArray[np.uint64]
Signatures = npt.NDArray[np.uint32]
Text = Callable[[str], str]  # the text of a document, by its hash
Show = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True, slots=True)
class Twin:
    """Why a document goes: the kept one that it resembles."""

    keeper: str  # hash of a document that is kept
    score: float  # Jaccard similarity of their token 5-grams; 1.0 for the same text
    reason: str  # "same_text" | "near_duplicate"


def sign(text: str) -> DocumentSignature:
    """Make what a text is compared by."""
    from rensa import RMinHash

    data = same_text(text).encode(errors="surrogatepass")
    found = grams(text)
    ends = np.array([0, len(found)], dtype=np.uint64)
    (numbers,) = RMinHash.digest_matrix_from_flat_token_hashes(found, ends, NUMBERS, SEED).to_rows()
    packed = np.array(numbers, dtype=STORED).tobytes()
    return DocumentSignature(blake2b(data, digest_size=16).digest(), len(found), packed, RULE)


def twins(
    documents: Iterable[tuple[str, DocumentSignature]],
    text: Text,
    threshold: float = THRESHOLD,
    show: Show | None = None,
) -> dict[str, Twin]:
    """Give, for each document that goes, its keeper. Documents are (hash, signature); a hash counts once.

    Two texts are the same when they differ only in line ends and in space at the end of lines or of the
    text. `text` is asked only for documents that may be near-duplicates, once all signatures were read.
    Raises ValueError for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a threshold lies in (0, 1], not at {threshold}")
    texts = _Texts(documents)
    near = _near(texts, _Grams(texts, text), threshold, show or (lambda *_: None))
    return dict(_named(texts, near))


def same_text(text: str) -> str:
    """Give the form in which texts are compared: LF line ends, no space at the end of a line or the text."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(map(str.rstrip, lines)).rstrip()


def grams(text: str) -> Hashes:
    """Give the distinct token 5-grams of a text as sorted 64-bit hashes; none below MIN_TOKENS tokens.

    Of a million different 5-grams two share a hash once in 37 million tries, so that a similarity computed
    from hashes is that of the 5-grams. Texts that are the same (`same_text`) have the same 5-grams.
    """
    found = TOKEN.findall(text)
    hashes = {token: _token_hash(token) for token in set(found)}
    tokens = np.fromiter(map(hashes.__getitem__, found), dtype=np.uint64, count=len(found))
    if len(tokens) < MIN_TOKENS:
        return tokens[:0]
    last = len(tokens) - GRAM + 1
    total = np.zeros(last, dtype=np.uint64)
    for place, weight in enumerate(WEIGHTS):
        total += tokens[place : place + last] * weight  # modulo 2^64
    return np.unique(total)


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


def _token_hash(token: str) -> int:
    # A text may hold half a surrogate pair, which UTF-8 has no bytes for.
    data = token.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


# Odd numbers whose differences are odd multiples of small powers of two, so that an exchange of two tokens
# changes the sum as surely as a new token does.
WEIGHTS = np.array(
    [int.from_bytes(blake2b(b"%d" % n, digest_size=8).digest(), "little") | 1 for n in range(GRAM)],
    dtype=np.uint64,
)


class _Texts:
    """The distinct texts: the names of their documents, and their signatures."""

    def __init__(self, documents: Iterable[tuple[str, DocumentSignature]]) -> None:
        self.of: dict[str, int] = {}  # the number of the text of each document
        self.first: list[str] = []  # the lowest hash of the documents of each text
        known: dict[bytes, int] = {}  # the number of each text, by its key
        sizes: list[int] = []
        rows = bytearray()
        for name, signature in documents:
            if name in self.of:
                continue  # a name that is there already changes nothing
            number = self.of[name] = known.setdefault(signature.text_key, len(known))
            if number < len(self.first):
                self.first[number] = min(self.first[number], name)
                continue
            self.first.append(name)
            sizes.append(signature.grams)
            rows += signature.numbers
        self.sizes = np.array(sizes, dtype=np.int64)  # 5-grams of each text
        # A row a text, NUMBERS each.
        self.signatures: Signatures = np.frombuffer(rows, dtype=STORED).reshape(-1, NUMBERS)


class _Grams:
    """The 5-grams of texts. Those of texts that stay are kept at hand as far as CACHED allows, and what came
    first stays: a family is walked from end to end again and again, and if the oldest went, none of a family
    that is larger than CACHED would be there in time."""

    def __init__(self, texts: _Texts, text: Text) -> None:
        self._texts = texts
        self._text = text
        self._at_hand: dict[int, Hashes] = {}
        self._room = CACHED

    def of(self, number: int) -> Hashes:
        """Give the 5-grams of a text."""
        found = self._at_hand.get(number)
        return grams(self._text(self._texts.first[number])) if found is None else found

    def of_kept(self, number: int) -> Hashes:
        """Give the 5-grams of a text that stays, which will be asked for again."""
        found = self.of(number)
        self.keep(number, found)
        return found

    def keep(self, number: int, found: Hashes) -> None:
        """Keep the 5-grams of a text that stays at hand, if there is room."""
        if number not in self._at_hand and len(found) <= self._room:
            self._at_hand[number] = found
            self._room -= len(found)


def _near(texts: _Texts, grams: _Grams, threshold: float, show: Show) -> dict[int, tuple[int, float]]:
    """Walk the texts in the order of their hashes. Gives for each that goes its keeper and the score."""
    bands = _bands(texts.signatures, _rows(threshold))
    order = sorted(range(len(texts.first)), key=texts.first.__getitem__)
    kept: dict[tuple[int, int], list[int]] = {}  # the kept texts of each band that several texts share
    gone: dict[int, tuple[int, float]] = {}
    for done, number in enumerate(order):
        if done % 100 == 0:
            show("comparing documents", done, len(order))
        places = [(band, int(group)) for band, group in enumerate(bands[number]) if group >= 0]
        if not places or not texts.sizes[number]:
            continue
        candidates = {other for place in places for other in kept.get(place, ())}
        best = _best(texts, grams, number, candidates, threshold)
        if best is not None:
            gone[number] = best
            continue
        for place in places:
            kept.setdefault(place, []).append(number)
    show("comparing documents", len(order), len(order))
    return gone


def _best(
    texts: _Texts, grams: _Grams, number: int, candidates: set[int], threshold: float
) -> tuple[int, float] | None:
    """Give the candidate most like a text and how alike they are, or None if none is alike enough."""
    possible = _possible(texts, number, candidates, threshold)
    if not possible:
        return None  # and its text need not be read
    mine = grams.of(number)
    scored = ((-similarity(mine, grams.of_kept(other)), texts.first[other], other) for other in possible)
    alike = [found for found in scored if -found[0] >= threshold]
    if not alike:
        grams.keep(number, mine)
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
