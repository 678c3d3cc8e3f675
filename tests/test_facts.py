"""Facts in memory say what looking at every row says."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.store.facts import BARS, Facts, Order, Texts, View

Row = tuple[int, str | None, str | None, int]
ROWS = st.lists(
    st.tuples(
        st.integers(1, 500), st.sampled_from(["x", "y", "", None]), st.sampled_from(["p", "q", "r"]),
        st.integers(0, 9),
    ),
    max_size=40, unique_by=lambda row: row[0],
)  # fmt: skip
ORDERS = st.builds(Order, st.sampled_from(["", "size"]), st.booleans())


def facts_of(rows: list[Row]) -> Facts:
    return Facts(rows, ("one", "other"), ("size",))


def in_order(rows: list[Row], order: Order) -> list[int]:
    sign = -1 if order.down else 1
    return [row[0] for row in sorted(rows, key=lambda row: (sign * row[3] if order.measure else 0, row[0]))]


def walked(facts: Facts, mask: Any, order: Order, size: int) -> tuple[list[int], list[int]]:
    """Go through all pages forward, and from the last page back."""
    page = facts.page(mask, order, size=size)
    forward = list(page.seqs)
    while page.after is not None:
        page = facts.page(mask, order, after=page.after, size=size)
        assert page.seqs and page.first == len(forward) + 1
        forward += page.seqs
    back = list(page.seqs)
    while page.before is not None:
        page = facts.page(mask, order, before=page.before, size=size)
        assert page.seqs
        back = page.seqs + back
    return forward, back


@given(ROWS, ORDERS, st.integers(1, 7), st.sampled_from(["x", "y", "none"]), st.integers(0, 9), st.data())
def test_pages_hold_every_row_once_in_order(
    rows: list[Row], order: Order, size: int, value: str, least: int, data: st.DataObject
) -> None:
    facts = facts_of(rows)
    chosen = data.draw(st.sets(st.integers(0, 510)))
    ways: list[tuple[View, list[Row]]] = [
        (View(facts, {}), rows),
        (View(facts, {"one": value}), [row for row in rows if row[1] == value]),
        (View(facts, {}, {"size": (least, 7)}), [row for row in rows if least <= row[3] <= 7]),
        (
            View(facts, {"other": "p"}, {}, facts.numbered(np.array(sorted(chosen), np.int64))),
            [row for row in rows if row[2] == "p" and row[0] in chosen],
        ),
    ]
    for view, left in ways:
        wanted = in_order(left, order)
        mask = view.mask()
        assert walked(facts, mask, order, size) == (wanted, wanted)
        assert facts.page(mask, order, size=size).total == len(wanted)
        for at, seq in enumerate(wanted):
            assert facts.place_of(mask, order, seq) == at
            beside = (wanted[at - 1] if at else None, wanted[at + 1] if at + 1 < len(wanted) else None)
            assert facts.beside(mask, order, at) == beside
        assert facts.place_of(mask, order, 999) is None


@given(ROWS, st.sampled_from(["x", "y"]), st.integers(0, 9))
def test_a_fact_is_counted_under_the_filters_of_the_others(rows: list[Row], value: str, least: int) -> None:
    view = View(facts_of(rows), {"one": value}, {"size": (least, 9)})
    large = [row for row in rows if row[3] >= least]
    assert view.counts("one") == Counter(row[1] for row in large if row[1])
    found = view.counts("other")
    assert found == Counter(row[2] for row in large if row[1] == value)
    assert list(found.items()) == sorted(found.items(), key=lambda one: (-one[1], one[0]))
    bars = view.histogram("size")
    assert sum(bar.rows for bar in bars) == sum(row[1] == value for row in rows)
    pairs = view.facts.pairs("one", "other", view.facts.between("size", (least, 9)))
    assert {(a, b): n for a, inner in pairs.items() for b, n in inner.items()} == Counter(
        (row[1] or "", row[2]) for row in large
    )


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=60), st.data())
def test_bars_cover_all_rows_and_stay_under_filters(sizes: list[int], data: st.DataObject) -> None:
    facts = Facts([(n, "x", size) for n, size in enumerate(sizes)], ("one",), ("size",))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))), np.bool_)
    bars = facts.histogram("size", mask)
    whole = facts.histogram("size", np.ones(len(sizes), np.bool_))
    assert [(bar.low, bar.high) for bar in bars] == [(bar.low, bar.high) for bar in whole]
    assert len(bars) <= BARS
    assert (bars[0].low, bars[-1].high) == (min(sizes), max(sizes))
    assert all(bar.low == bar.high for bar in bars[:-1] if bar.low <= 15)
    assert all(one.high + 1 == two.low for one, two in pairwise(bars))
    for bar in bars:
        assert bar.rows == sum(
            bar.low <= size <= bar.high for size, is_in in zip(sizes, mask, strict=True) if is_in
        )


@pytest.mark.parametrize("key", ["", "x", "-7", "1-2", "9" * 40, "9" * 19, "1 OR 1=1", "٣", "\0", "1\n"])
@pytest.mark.parametrize("order", [Order(), Order("size", True)])
def test_a_damaged_key_gives_the_first_page(key: str, order: Order) -> None:
    facts = facts_of([(n, "x", "p", n % 4) for n in range(1, 30)])
    mask = np.ones(len(facts), np.bool_)
    first = facts.page(mask, order, size=5)
    assert facts.page(mask, order, after=key, size=5) == first
    if key != "9" * 19:  # this one is a number: it stands behind all rows
        assert facts.page(mask, order, before=key, size=5) == first


def test_no_rows_have_one_empty_page() -> None:
    facts = facts_of([])
    page = facts.page(View(facts, {"one": "x"}).mask(), Order("size", True), after="7")
    assert (page.seqs, page.total, page.after, page.before) == ([], 0, None, None)
    assert facts.counts("one", View(facts, {}).mask()) == {} and facts.pairs("one", "other") == {}
    assert facts.histogram("size", View(facts, {}).mask()) == []
    assert not len(facts.numbered(np.array([3], np.int64)))


PARTS = st.text(alphabet="abAB/é.\0", max_size=4)


@given(st.lists(st.text(alphabet="abAB/é.\0", max_size=8), max_size=12), PARTS)
def test_any_part_of_a_text_is_found(texts: list[str], part: str) -> None:
    found = Texts(list(enumerate(texts, 7))).holding(part)
    assert found.tolist() == [n for n, text in enumerate(texts, 7) if part.lower() in text.lower()]
