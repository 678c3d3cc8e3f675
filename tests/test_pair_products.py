"""Products of pairs are the same whichever library makes them, and however many are asked for at once."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from curation import pair_products, pairs
from curation.pair_products import CopiedProducts, Products, SampledProducts, exact_products, products
from curation.pairs import search_pairs
from curation.stage import silent
from tests.test_pairs import vectors_with_twins

WAYS = [CopiedProducts, SampledProducts]


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_products, "CHUNK", 7)


def some_pairs(rows: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Give pairs by right, their left ones in no order."""
    random = np.random.default_rng(3)
    names = random.permutation(rows * rows)[:number]
    right, left = np.sort(names) // rows, random.permuted(names % rows)
    by_right = np.unique(np.stack([right, left], axis=1), axis=0)
    for row in np.unique(by_right[:, 0]):
        random.shuffle(by_right[by_right[:, 0] == row])
    return by_right[:, 1].astype(np.int32), by_right[:, 0].astype(np.int32)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [0, 1, 6, 7, 8, 400])
def test_each_pair_has_the_product_of_its_own_rows(way: type, number: int) -> None:
    vectors = vectors_with_twins(40) * np.linspace(0, 2, 40, dtype=np.float32)[:, None]  # one row of nothing
    left, right = some_pairs(40, number)

    made = way(vectors).of(left, right)

    expected = np.einsum("ij,ij->i", vectors[left].astype(float), vectors[right].astype(float))
    assert made.dtype == np.float32 and made.shape == (len(left),)
    np.testing.assert_allclose(made, expected, atol=4e-6)
    np.testing.assert_allclose(exact_products(vectors, left, right), expected, atol=1e-14)


def test_an_exact_product_does_not_hang_on_what_is_asked_for_beside_it() -> None:
    vectors = vectors_with_twins(40)
    left, right = some_pairs(40, 300)

    together = exact_products(vectors, left, right)

    alone = [
        exact_products(vectors, left[at : at + 1], right[at : at + 1])[0].hex() for at in range(len(left))
    ]
    assert [product.hex() for product in together.tolist()] == alone


@pytest.mark.parametrize("floor", [0.5, 0.8])
def test_the_list_is_the_same_to_the_last_byte_by_either(
    floor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "AT_ONCE", 30)
    vectors = np.concatenate([vectors_with_twins(300), np.repeat(vectors_with_twins(1), 20, axis=0)])
    lists = []
    for way in WAYS:
        monkeypatch.setattr(pairs, "products", way)
        lists.append(search_pairs(vectors, floor, tmp_path / way.__name__, silent).tobytes())
    assert lists[0] == lists[1] != b""


def test_torch_is_taken_where_it_is_loaded_and_says_nothing_about_it(tmp_path: Path) -> None:
    import torch

    assert torch.__name__ in sys.modules
    np.save(tmp_path / "x.npy", vectors_with_twins(40))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    left, right = some_pairs(40, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen: Products = products(mapped)
        chosen.of(left, right)
    assert isinstance(chosen, SampledProducts)


def test_a_torch_that_cannot_do_it_leaves_it_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("not compiled with it")

    monkeypatch.setattr(torch.sparse, "sampled_addmm", refuse)

    assert isinstance(products(vectors_with_twins(3)), CopiedProducts)


def test_without_torch_numpy_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    assert isinstance(products(vectors_with_twins(3)), CopiedProducts)
