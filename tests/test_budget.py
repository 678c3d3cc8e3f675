"""A budget is never passed, in whatever order calls are reserved and settled."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.budget import PER_PRICE, Budget, Prices
from curation.errors import WrongInput

TOKENS = st.integers(0, 5_000)
PRICES = st.one_of(st.none(), st.builds(Prices, st.floats(0, 1e5), st.floats(0, 1e5)))


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    prices = draw(PRICES)
    money = draw(st.one_of(st.none(), st.floats(1e-6, 1e4))) if prices is not None else None
    return Budget(draw(st.integers(1, 100_000)), prices, money)


@given(budgets(), st.lists(st.tuples(TOKENS, TOKENS, st.booleans()), max_size=80), st.integers())
def test_what_is_spent_and_reserved_never_passes_tokens_or_money(
    budget: Budget, steps: list[tuple[int, int, bool]], seed: int
) -> None:
    """Each step reserves a call's worst case, or settles any of those that fly for any part of it."""
    chance = random.Random(seed)
    flying: list[tuple[int, int]] = []
    spent = [0, 0]
    for tokens_in, tokens_out, settles in steps:
        if settles and flying:
            reserved = flying.pop(chance.randrange(len(flying)))
            used = (chance.randint(0, reserved[0]), chance.randint(0, reserved[1]))
            budget.settle(reserved, used)
            spent = [spent[0] + used[0], spent[1] + used[1]]
        elif budget.reserve(tokens_in, tokens_out):
            flying.append((tokens_in, tokens_out))
        all_in = spent[0] + sum(one[0] for one in flying)
        all_out = spent[1] + sum(one[1] for one in flying)
        assert all_in + all_out <= budget.tokens
        if budget.money is not None and budget.prices is not None:
            assert budget.prices.of(all_in, all_out) <= budget.money
        assert (budget.spent_in, budget.spent_out, budget.spent) == (*spent, sum(spent))
        assert budget.has_reserved == any(any(one) for one in flying)


@given(budgets(), TOKENS, TOKENS)
def test_a_refusal_changes_nothing_and_is_given_only_where_there_is_no_room(
    budget: Budget, tokens_in: int, tokens_out: int
) -> None:
    fits = tokens_in + tokens_out <= budget.tokens and (
        budget.money is None
        or budget.prices is None
        or budget.prices.of(tokens_in, tokens_out) <= budget.money
    )
    assert budget.reserve(tokens_in, tokens_out) == fits
    assert budget.has_reserved == (fits and bool(tokens_in or tokens_out))


def test_what_earlier_runs_spent_counts() -> None:
    budget = Budget(100, spent_in=40, spent_out=50)
    assert not budget.reserve(5, 6)
    assert budget.reserve(5, 5)


def test_a_call_that_used_less_leaves_room_for_the_next() -> None:
    budget = Budget(100)
    assert budget.reserve(50, 50) and not budget.reserve(1, 0)
    budget.settle((50, 50), (10, 5))
    assert budget.spent == 15 and budget.reserve(40, 45) and not budget.reserve(1, 0)


def test_money_is_counted_by_the_price_of_each_direction() -> None:
    prices = Prices(2.0, 8.0)
    assert prices.of(PER_PRICE, PER_PRICE / 2) == 6.0
    budget = Budget(10**9, prices, 6.0, spent_in=PER_PRICE)
    assert budget.spent_money == 2.0
    assert not budget.reserve(0, PER_PRICE // 2 + 1)
    assert budget.reserve(0, PER_PRICE // 2)


def test_without_prices_nothing_is_said_of_money() -> None:
    assert Budget(10, spent_in=5).spent_money is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tokens": 0}, "--budget-tokens 0"),
        ({"tokens": -5}, "--budget-tokens -5"),
        ({"tokens": 9, "money": 1.0}, "--price-in"),
        ({"tokens": 9, "money": 0.0, "prices": Prices(1, 1)}, "--budget-money 0.0"),
        ({"tokens": 9, "money": float("nan"), "prices": Prices(1, 1)}, "--budget-money nan"),
        ({"tokens": 9, "money": float("inf"), "prices": Prices(1, 1)}, "--budget-money inf"),
    ],
)
def test_what_is_no_budget_is_refused_by_name(given: dict[str, object], named: str) -> None:
    with pytest.raises(WrongInput, match=named):
        Budget(**given)  # type: ignore[arg-type]
