"""The bounds lose no pair, whatever the vectors are; the search gives the same pairs under each of them."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from curation import bf16_screen, int8_screen, pair_screen, pairs, screen_choice
from curation.bf16_screen import half_screen
from curation.int8_screen import byte_screen
from curation.pair_screen import Screen, Tile, float_screen
from curation.pairs import search_pairs
from curation.stage import silent

FLOOR = 0.8
ROWS, SIZE = 900, 384


@pytest.fixture(autouse=True)
def rotate_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_screen, "SMALL", 10)
    monkeypatch.setattr(pair_screen, "CHUNK", 250)
    monkeypatch.setattr(int8_screen, "CHUNK", 250)
    monkeypatch.setattr(bf16_screen, "CHUNK", 250)


def unit(found: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return (found / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def like_text(random: np.random.Generator) -> np.ndarray:
    """Most of the variance in few directions, as embeddings of text have it, and look-alikes."""
    found = random.normal(size=(ROWS, SIZE)) * np.arange(1, SIZE + 1) ** -0.6
    for row in range(2, ROWS, 3):
        found[row] = found[random.integers(row)] + 0.25 * random.normal() * found[row]
    return unit(found)


def flat(random: np.random.Generator) -> np.ndarray:
    """No direction is worth more than another: the worst case for a rotation."""
    found = random.normal(size=(ROWS, SIZE))
    found[ROWS // 2 :] = found[: ROWS // 2] + random.uniform(0, 1.5, (ROWS // 2, 1)) * found[ROWS // 2 :]
    return unit(found)


def in_the_tail(random: np.random.Generator) -> np.ndarray:
    """Pairs a hair above the floor that agree only where directions count least: all is left to the tails."""
    crowd = unit(random.normal(size=(ROWS - 200, 127)))
    one, other = unit(random.normal(size=(100, 127))), random.normal(size=(100, 127))
    other = unit(other - np.einsum("ij,ij->i", one, other)[:, None] * one)  # at right angles
    tail = unit(random.normal(size=(100, SIZE - 127)))
    alike = FLOOR + 1e-6
    found = np.zeros((ROWS, SIZE))
    found[: ROWS - 200, :127] = crowd
    found[ROWS - 200 :, :127] = np.concatenate([one, other]) * np.sqrt(1 - alike)
    found[ROWS - 200 :, 127:] = np.concatenate([tail, tail]) * np.sqrt(alike)
    return unit(found)


def all_equal(random: np.random.Generator) -> np.ndarray:
    return unit(np.repeat(random.normal(size=(1, SIZE)), ROWS, axis=0))


def single_directions(random: np.random.Generator) -> np.ndarray:
    """One number of a row is all of it: bytes of one step hold it badly."""
    return unit(np.eye(SIZE)[random.integers(0, SIZE, ROWS)])


def with_nothing(random: np.random.Generator) -> np.ndarray:
    found = like_text(random)
    found[::50] = 0
    return found


def at_the_floor(random: np.random.Generator) -> np.ndarray:
    """Pairs a hair above and below."""
    base = random.normal(size=(ROWS // 2, SIZE))
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    aside = random.normal(size=base.shape)
    aside -= np.einsum("ij,ij->i", aside, base)[:, None] * base
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    cosine = FLOOR + random.uniform(-2e-7, 2e-7, (ROWS // 2, 1))
    return np.concatenate([base, cosine * base + np.sqrt(1 - cosine**2) * aside]).astype(np.float32)


BOUNDS = {"float32": float_screen, "bytes": byte_screen, "bfloat16": half_screen}
VECTORS = [like_text, flat, in_the_tail, all_equal, single_directions, with_nothing, at_the_floor]
Make = Callable[[np.random.Generator], np.ndarray]


def truth(vectors: np.ndarray, floor: float) -> list[tuple[int, int]]:
    """Give the pairs by one product in float64."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    with np.errstate(invalid="ignore"):
        cosine = (wide @ wide.T) / np.outer(lengths, lengths)
    left, right = np.nonzero(np.triu(cosine >= floor, 1))
    return list(zip(left.tolist(), right.tolist(), strict=True))


def hits(screen: Screen, rows: int) -> np.ndarray:
    found = np.zeros((rows, rows), dtype=bool)
    with screen.alone():
        found[Tile(screen, rows, rows).hits(slice(0, rows), slice(0, rows))] = True
    return found


@pytest.mark.parametrize("make", VECTORS)
@pytest.mark.parametrize("floor", [0.7, 0.8, 0.95])
def test_no_pair_is_lost_by_a_bound(make: Make, floor: float) -> None:
    vectors = make(np.random.default_rng(976))
    left, right = np.array(truth(vectors, floor), dtype=int).reshape(-1, 2).T
    for name, bound in BOUNDS.items():
        if (screen := bound(vectors, floor)) is not None:
            assert hits(screen, ROWS)[left, right].all(), name


@pytest.mark.parametrize("make", VECTORS)
@pytest.mark.parametrize("width", [pair_screen.WIDTHS[0], 128, pair_screen.WIDTHS[-1]])
def test_no_pair_is_lost_however_wide_the_bound_is(
    make: Make, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = make(np.random.default_rng(976))
    monkeypatch.setattr(pair_screen, "_quickest_width", lambda *_: width)

    screen = float_screen(vectors, FLOOR)

    left, right = np.array(truth(vectors, FLOOR), dtype=int).reshape(-1, 2).T
    assert screen.lead.shape == (ROWS, width)
    assert hits(screen, ROWS)[left, right].all()


def test_the_higher_the_floor_the_thinner_the_bound() -> None:
    vectors = like_text(np.random.default_rng(3))

    widths = [float_screen(vectors, floor).lead.shape[1] for floor in (0.1, 0.3, 0.5, 0.7, 0.9)]

    assert widths[0] == SIZE  # whatever was left out, most pairs would be left to look at
    assert widths[-1] == pair_screen.WIDTHS[0]
    assert widths == sorted(set(widths), reverse=True)


@pytest.mark.parametrize("make", VECTORS)
def test_all_bounds_lead_to_the_pairs_of_float64(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = make(np.random.default_rng(7))
    found = {}
    for name, bound in BOUNDS.items():
        screen = bound(vectors, FLOOR)
        if screen is not None:
            monkeypatch.setattr(pairs, "quickest_screen", lambda *_, screen=screen: screen)
            found[name] = search_pairs(vectors, FLOOR, tmp_path / name, silent)
    listed = found["float32"]
    near = np.abs(listed["cosine"].astype(float) - FLOOR) < 1e-6
    expected = truth(vectors, FLOOR)
    assert list(zip(listed["left"].tolist(), listed["right"].tolist(), strict=True)) == expected
    assert all(other.tobytes() == listed.tobytes() for other in found.values())
    assert "bfloat16" in found
    if make is at_the_floor:
        assert near.sum() > 100, "pairs far from the floor would prove little"


def test_the_bound_leaves_little_to_verify_where_vectors_are_like_those_of_text() -> None:
    vectors = like_text(np.random.default_rng(3))
    true = len(truth(vectors, FLOOR))
    for name, bound in BOUNDS.items():
        screen = bound(vectors, FLOOR)
        assert screen is not None
        left = int(np.triu(hits(screen, ROWS), 1).sum())
        assert true <= left < 0.05 * ROWS**2 / 2, name


def test_tails_that_bytes_cannot_hold_leave_it_to_float32() -> None:
    """Of 4,096 like directions the leading ones hold so little that the tail is far beyond 127 steps."""
    vectors = unit(np.random.default_rng(1).normal(size=(ROWS, 4_096)))

    assert byte_screen(vectors, FLOOR) is None


def test_a_floor_at_which_the_sign_of_a_product_would_matter_is_not_for_bfloat16() -> None:
    vectors = like_text(np.random.default_rng(5))

    assert half_screen(vectors, 0.0) is None
    assert half_screen(vectors, 0.1) is not None


def test_the_quickest_bound_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = like_text(np.random.default_rng(5))
    assert sorted(screen_choice.quickest_first(64, 128)) == sorted(BOUNDS)
    monkeypatch.setattr(screen_choice, "FEW", 10)
    monkeypatch.setattr(screen_choice, "quickest_first", lambda *_: ["bfloat16", "bytes", "float32"])

    first = screen_choice.quickest_screen(vectors, FLOOR, 64, 128)
    second = screen_choice.quickest_screen(vectors, 0.0, 64, 128)  # not for bfloat16

    assert type(first).__name__ == "HalfScreen"
    assert type(second).__name__ == "ByteScreen"


def test_a_bound_far_behind_is_given_up_after_few_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: Counter[str] = Counter()

    def slowly(self: Screen, rows: slice, columns: slice, out: np.ndarray) -> np.ndarray:
        looked_at[type(self).__name__] += 1
        time.sleep({"ByteScreen": 0.02, "HalfScreen": 0.08}[type(self).__name__])
        return out

    monkeypatch.setattr(bf16_screen.HalfScreen, "product", slowly)
    monkeypatch.setattr(int8_screen.ByteScreen, "product", slowly)

    assert screen_choice.quickest_first(64, 128) == ["float32", "bytes", "bfloat16"]
    assert set(looked_at.values()) == {screen_choice.TRIED}
