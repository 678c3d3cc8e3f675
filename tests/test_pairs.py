"""The search for pairs finds exactly the pairs that a float64 computation finds, however it is cut up."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from curation import pair_products, pairs
from curation.embedding import Vectors
from curation.pair_list import PAIR
from curation.pairs import Search, exact_cosines, keep_block, search_pairs
from curation.stage import silent

ROWS, COLUMNS = 7, 16  # small blocks that do not divide each other: every border is crossed


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "ROWS", ROWS)
    monkeypatch.setattr(pairs, "STRIP", 3)
    monkeypatch.setattr(pairs, "COLUMNS", COLUMNS)
    monkeypatch.setattr(pairs, "AT_ONCE", 20)
    monkeypatch.setattr(pair_products, "CHUNK", 5)


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def vectors_with_twins(rows: int, random_seed: int = 0, size: int = 384) -> Vectors:
    """Give random unit vectors of which every third one is a look-alike of some row before it."""
    random = np.random.default_rng(random_seed)
    found = random.normal(size=(rows, size))
    for row in range(2, rows, 3):
        noise = random.normal(size=size) * random.choice([0.0, 0.3, 0.6, 0.9])
        found[row] = found[random.integers(row)] + noise
    return unit(found)


def brute_force(vectors: Vectors, floor: float) -> list[tuple[int, int, float]]:
    """Compare every row with every later one, in float64."""
    found = []
    exact = vectors.astype(np.float64)
    for left in range(len(exact)):
        for right in range(left + 1, len(exact)):
            a, b = exact[left], exact[right]
            cosine = float(np.einsum("i,i", a, b) / np.sqrt(np.einsum("i,i", a, a) * np.einsum("i,i", b, b)))
            if cosine >= floor:
                found.append((left, right, cosine))
    return found


def listed(found: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(found["left"].tolist(), found["right"].tolist(), strict=True))


@pytest.mark.parametrize(
    "rows", [1, 2, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS, COLUMNS, COLUMNS + 1, ROWS * COLUMNS, 130]
)
def test_every_pair_is_found_once_and_in_order(tmp_path: Path, rows: int):
    vectors = vectors_with_twins(rows, random_seed=rows)
    expected = brute_force(vectors, 0.7)

    found = search_pairs(vectors, 0.7, tmp_path, silent)

    assert listed(found) == [(left, right) for left, right, _ in expected]
    assert found["cosine"].tolist() == pytest.approx([cosine for *_, cosine in expected], abs=1e-7)
    assert rows < 3 or len(expected), "a set without look-alikes would prove nothing"


def test_the_sizes_of_the_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    vectors = vectors_with_twins(100)
    small = search_pairs(vectors, 0.7, tmp_path / "small", silent).tobytes()
    monkeypatch.setattr(pairs, "ROWS", 1024)
    monkeypatch.setattr(pairs, "STRIP", 256)
    monkeypatch.setattr(pairs, "COLUMNS", 4096)
    monkeypatch.setattr(pairs, "AT_ONCE", 1 << 16)
    monkeypatch.setattr(pair_products, "CHUNK", 512)

    assert search_pairs(vectors, 0.7, tmp_path / "large", silent).tobytes() == small


def test_a_floor_that_a_pair_meets_exactly_lists_it_and_the_next_greater_number_does_not(tmp_path: Path):
    vectors = vectors_with_twins(60, random_seed=5)
    for left, right, cosine in brute_force(vectors, 0.7)[:4]:
        above = float(np.nextafter(cosine, 2))
        assert (left, right) in listed(search_pairs(vectors, cosine, tmp_path / f"{cosine}", silent))
        assert (left, right) not in listed(search_pairs(vectors, above, tmp_path / f"{above}", silent))


def test_a_cosine_that_float32_gets_wrong_is_judged_in_float64(tmp_path: Path):
    """Of 400 pairs around the floor some fall on its other side in float32; none may here."""
    random = np.random.default_rng(1)
    base = unit(random.normal(size=(1, 384)))[0].astype(np.float64)
    aside = random.normal(size=(400, 384))
    aside = aside - np.outer(aside @ base, base)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    wanted = 0.8 + random.uniform(-3e-7, 3e-7, size=(400, 1))
    vectors = np.vstack([base[None], wanted * base + np.sqrt(1 - wanted**2) * aside]).astype(np.float32)
    single = vectors[1:] @ vectors[0] >= np.float32(0.8)
    expected = [right for left, right, _ in brute_force(vectors, 0.8) if left == 0]
    assert (np.flatnonzero(single) + 1).tolist() != expected, "rounding plays no part here"

    found = search_pairs(vectors, 0.8, tmp_path, silent)

    assert found["right"][found["left"] == 0].tolist() == expected


def test_equal_rows_are_a_pair_and_no_row_is_its_own_neighbour(tmp_path: Path):
    vectors = unit(np.eye(20, 384))
    vectors[13] = vectors[2]

    assert listed(search_pairs(vectors, 0.7, tmp_path, silent)) == [(2, 13)]


def test_rows_without_look_alikes_give_an_empty_list_that_can_be_read_again(tmp_path: Path):
    vectors = unit(np.eye(20, 384))

    for found in (search_pairs(vectors, 0.7, tmp_path, silent) for _ in range(2)):
        assert len(found) == 0
        assert found.dtype == PAIR


def test_no_rows_give_no_pairs(tmp_path: Path):
    assert len(search_pairs(np.empty((0, 384), dtype=np.float32), 0.7, tmp_path, silent)) == 0


class Killed(Exception):
    """Stands for a kill while rows are compared."""


def stop_after(blocks: int):
    """Give a progress that stops the work when so many blocks are saved."""

    def progress(what: str, done: int, total: int) -> None:
        if done == blocks * ROWS:
            raise Killed

    return progress


def parts(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("part-*"))


@pytest.mark.parametrize("harm", ["none", "deleted", "cut short", "empty", "no array"])
def test_a_search_that_was_stopped_goes_on_to_the_same_bytes(tmp_path: Path, harm: str):
    vectors = vectors_with_twins(100, random_seed=2)
    search_pairs(vectors, 0.7, tmp_path / "undisturbed", silent)
    stopped = tmp_path / "stopped"
    with pytest.raises(Killed):
        search_pairs(vectors, 0.7, stopped, stop_after(6))
    assert set(parts(stopped)) >= {f"part-{n:05d}.npy" for n in range(6)}, "what was shown is kept"
    assert len(parts(stopped)) < -(-100 // ROWS)
    part = stopped / "part-00003.npy"
    whole = part.read_bytes()
    assert sum(map(len, Search(vectors, 0.7).block(3 * ROWS))), "a part without pairs would prove nothing"
    if harm == "deleted":
        part.unlink()
    elif harm != "none":
        part.write_bytes({"cut short": whole[:-5], "empty": b"", "no array": b"x" * len(whole)}[harm])

    found = search_pairs(vectors, 0.7, stopped, silent)

    assert (stopped / "pairs.npy").read_bytes() == (tmp_path / "undisturbed" / "pairs.npy").read_bytes()
    assert found.tobytes() == search_pairs(vectors, 0.7, tmp_path / "undisturbed", silent).tobytes()
    assert parts(stopped) == [], "what is in the whole file needs no part"


def test_what_was_saved_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    vectors = vectors_with_twins(100)
    with pytest.raises(Killed):
        search_pairs(vectors, 0.7, tmp_path, stop_after(6))
    kept, computed = parts(tmp_path), []
    monkeypatch.setattr(
        pairs,
        "keep_block",
        lambda search, start, folder: (computed.append(start), keep_block(search, start, folder)),
    )

    search_pairs(vectors, 0.7, tmp_path, silent)
    search_pairs(vectors, 0.7, tmp_path, silent)

    missing = [start for start in range(0, 100, ROWS) if f"part-{start // ROWS:05d}.npy" not in kept]
    assert sorted(computed) == missing and len(kept) >= 6


@pytest.mark.parametrize("most", [0, 1, 5, 40])
def test_rows_with_more_pairs_than_memory_should_hold_are_taken_fewer_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
):
    vectors = np.concatenate([vectors_with_twins(60), np.repeat(vectors_with_twins(1), 30, axis=0)])
    whole = search_pairs(vectors, 0.7, tmp_path / "whole", silent).tobytes()
    strips: list[slice] = []
    monkeypatch.setattr(pairs, "MOST", most)
    monkeypatch.setattr(Search, "_strip", lambda self, rows: (strips.append(rows), strip(self, rows))[1])
    assert search_pairs(vectors, 0.7, tmp_path / "few", silent).tobytes() == whole
    tried = Counter(rows.start for rows in strips)
    assert max(tried.values()) == 2, "three rows at once were too many somewhere, and one never is"


strip = Search._strip


@pytest.mark.parametrize("keep", [0, 60, -1, -PAIR.itemsize])
def test_a_list_that_was_cut_short_is_made_again_and_not_taken_for_an_empty_one(tmp_path: Path, keep: int):
    vectors = vectors_with_twins(50)
    search_pairs(vectors, 0.7, tmp_path, silent)
    file = tmp_path / "pairs.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])

    found = search_pairs(vectors, 0.7, tmp_path, silent)

    assert listed(found) == [(left, right) for left, right, _ in brute_force(vectors, 0.7)]
    assert file.read_bytes() == whole


def test_a_list_with_something_behind_its_end_is_made_again(tmp_path: Path):
    vectors = vectors_with_twins(50)
    search_pairs(vectors, 0.7, tmp_path, silent)
    file = tmp_path / "pairs.npy"
    whole = file.read_bytes()
    file.write_bytes(whole + b"0")

    search_pairs(vectors, 0.7, tmp_path, silent)

    assert file.read_bytes() == whole


def test_a_cosine_does_not_depend_on_the_lengths_of_the_vectors():
    vectors = vectors_with_twins(10) * np.float32(3)
    left, right = np.array([0, 4], dtype=np.int32), np.array([1, 4], dtype=np.int32)

    first, itself = exact_cosines(vectors, left, right)

    assert abs(first) < 0.3
    assert itself == pytest.approx(1.0, abs=1e-15)
