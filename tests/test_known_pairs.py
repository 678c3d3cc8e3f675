"""What an earlier search found is taken over: the list is the same, byte for byte, and less is computed."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from curation import pairs
from curation.embedding import Vectors
from curation.known_pairs import Known, find_known, note
from curation.pair_list import Pairs
from curation.pair_screen import Tile
from curation.pairs import search_pairs
from curation.stage import silent
from tests.test_pairs import vectors_with_twins

MODEL = "0123456789abcdef"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("ROWS", 14), ("STRIP", 7), ("COLUMNS", 16), ("AT_ONCE", 20)):
        monkeypatch.setattr(pairs, name, size)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect how many pairs were put through the bound."""
    sizes: list[int] = []
    hits = Tile.hits

    def counted(self: Tile, rows: slice, columns: slice) -> np.ndarray:
        sizes.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return hits(self, rows, columns)

    monkeypatch.setattr(Tile, "hits", counted)
    return sizes


class Shelf:
    """Rows by number, and searches of some of them in one pairs folder."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.vectors: Vectors = vectors_with_twins(rows, random_seed=7)

    def keys(self, rows: Sequence[int]) -> list[bytes]:
        return [sha256(str(row).encode()).digest()[:16] for row in rows]

    def search(self, name: str, rows: Sequence[int], floor: float) -> tuple[Pairs, Known | None]:
        """Search as the stage does."""
        known = find_known(self.folder, MODEL, floor, self.keys(rows), but=name)
        note(self.folder / name, MODEL, floor, self.keys(rows))
        return search_pairs(self.vectors[list(rows)], floor, self.folder / name, silent, known), known

    def anew(self, rows: Sequence[int], floor: float) -> Pairs:
        place = self.folder.parent / f"anew-{floor}-{len(rows)}"
        return search_pairs(self.vectors[list(rows)], floor, place, silent)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "pairs", 150)


def then(rows: int = 100) -> list[int]:
    return list(range(rows))


@pytest.mark.parametrize(
    ("rows", "floor", "why"),
    [
        (then(150), 0.7, "rows added"),
        ([*range(20, 60), *range(70, 100)], 0.7, "rows gone"),
        ([*range(50), *range(100, 103), *range(50, 100)], 0.7, "rows put between"),
        ([*range(5, 40), 120, *range(45, 100), *range(121, 150)], 0.7, "all of it"),
        (then(), 0.85, "a higher floor"),
        (then(), 0.55, "a lower floor"),
        (then(150), 0.55, "a lower floor and rows added"),
        (then(150), 0.85, "a higher floor and rows added"),
        ([*range(50, 100), *range(50)], 0.7, "halves that changed places"),
        ([*range(100), *range(10)], 0.7, "rows that are there twice now"),
        ([3], 0.7, "one row"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_list_is_that_of_a_search_that_knows_nothing(
    shelf: Shelf, rows: list[int], floor: float, why: str
) -> None:
    shelf.search("first", then(), 0.7)

    found, known = shelf.search("second", rows, floor)

    assert known is not None, why
    assert found.tobytes() == shelf.anew(rows, floor).tobytes()
    assert len(found) > 3 or rows == [3], "a list without pairs would prove nothing"


def test_rows_added_meet_the_others_and_the_others_do_not_meet_again(
    shelf: Shelf, looked_at: list[int]
) -> None:
    shelf.search("first", then(140), 0.7)
    first = sum(looked_at)
    looked_at.clear()

    shelf.search("second", then(150), 0.7)

    # Ten new ones and each of 140, and the new ones' own strips with what follows: not 140 x 140 / 2.
    assert 140 * 10 <= sum(looked_at) <= 150 * 10 + 3 * 7 * 150
    assert sum(looked_at) < first / 4


def test_a_higher_floor_and_rows_gone_compute_nothing(shelf: Shelf, looked_at: list[int]) -> None:
    shelf.search("first", then(), 0.7)
    looked_at.clear()

    shelf.search("second", then()[10:90], 0.8)

    assert looked_at == []


def test_a_lower_floor_verifies_only_pairs_that_were_not_known(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = shelf.search("first", then(), 0.7)
    verified: list[tuple[int, int]] = []
    cosines = pairs._cosines

    def seen(vectors, squares, left, right):  # type: ignore[no-untyped-def]
        verified.extend(zip(left.tolist(), right.tolist(), strict=True))
        return cosines(vectors, squares, left, right)

    monkeypatch.setattr(pairs, "_cosines", seen)
    second, _ = shelf.search("second", then(), 0.5)

    known = {(int(one["left"]), int(one["right"])) for one in first}
    assert not known & set(verified)
    assert known < {(int(one["left"]), int(one["right"])) for one in second}


def test_a_pair_at_a_higher_floor_is_judged_by_its_exact_cosine(shelf: Shelf) -> None:
    """The list holds float32: a floor between it and the float64 cosine must not move the pair."""
    first, _ = shelf.search("first", then(), 0.7)
    one = first[len(first) // 2]
    left, right = np.array([one["left"]]), np.array([one["right"]])
    exact = float(pairs.exact_cosines(shelf.vectors, left, right)[0])
    for name, floor, is_there in (("at", exact, True), ("above", np.nextafter(exact, 1), False)):
        found, _ = shelf.search(name, then(), floor)
        listed = set(zip(found["left"].tolist(), found["right"].tolist(), strict=True))
        assert ((int(left[0]), int(right[0])) in listed) is is_there


def test_lists_that_cannot_serve_are_not_taken(shelf: Shelf) -> None:
    shelf.search("first", then(), 0.7)
    assert find_known(shelf.folder, "another model", 0.7, shelf.keys(then())) is None
    assert find_known(shelf.folder, MODEL, 0.7, shelf.keys(range(99, 150))) is None, "too few are known"
    assert find_known(shelf.folder, MODEL, 0.7, []) is None
    for file, content in (("about.json", b"{"), ("keys.npy", b"no array"), ("pairs.npy", b"cut short")):
        whole = (shelf.folder / "first" / file).read_bytes()
        (shelf.folder / "first" / file).write_bytes(content)
        assert find_known(shelf.folder, MODEL, 0.7, shelf.keys(then())) is None
        (shelf.folder / "first" / file).write_bytes(whole)
    assert find_known(shelf.folder, MODEL, 0.7, shelf.keys(then())) is not None


def test_the_list_that_spares_most_is_taken(shelf: Shelf) -> None:
    for name, rows, floor in (("few", then(60), 0.7), ("many", then(90), 0.7), ("all", then(), 0.9)):
        shelf.search(name, rows, floor)
    known = find_known(shelf.folder, MODEL, 0.7, shelf.keys(then()))
    assert known is not None and known.floor == 0.7, "from a lower floor nothing is verified again"
    assert int((known.was >= 0).sum()) == 90
