"""How many calls fly at once: within its bounds whatever happens, half after a complaint, and back again.

No clock here: every test says what time it is.
"""

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from curation.throttle import FIRST, LONGEST, TROUBLE, WINDOW, Throttle

MOST = 64


def throttle(most: int = MOST) -> Throttle:
    return Throttle(most, chance=random.Random(976))


@dataclass(frozen=True)
class Event:
    """Something that a teacher did, so many seconds after what it did before."""

    what: str
    after: float
    wait: float | None = None

    def tell(self, one: Throttle, now: float) -> None:
        if self.what == "well":
            one.well()
        elif self.what == "too_fast":
            one.too_fast(now, self.wait)
        else:
            one.broken(now, self.wait)


WAITS = st.one_of(st.none(), st.floats(0, 4_000))
EVENTS = st.builds(
    Event, st.sampled_from(("well", "well", "too_fast", "broken")), st.floats(0, 3 * WINDOW), WAITS
)


@given(st.integers(1, 512), st.lists(EVENTS, max_size=150))
def test_the_limit_stays_within_its_bounds_and_closings_are_short_unless_asked_for(
    most: int, events: list[Event]
) -> None:
    one, now, asked = throttle(most), 100.0, 0.0
    assert one.limit == min(max(FIRST, most // 2), most)
    for event in events:
        now += event.after
        event.tell(one, now)
        if event.what != "well" and event.wait is not None:
            asked = max(asked, now + event.wait)
        assert 1 <= one.limit <= most
        assert one.asked_until == asked
        assert asked <= one.open_at <= max(asked, now + LONGEST)


@given(st.lists(EVENTS, max_size=150))
def test_the_limit_is_halved_once_a_window_at_most(events: list[Event]) -> None:
    """Fifty complaints about one burst are one complaint."""
    one, now = throttle(), 100.0
    halved: list[float] = []
    for event in events:
        now += event.after
        before = one.limit
        event.tell(one, now)
        if event.what == "well":
            assert one.limit >= before
        elif one.limit < before and one.limit != 1.0:  # 1 is also what a closing makes of it
            assert one.limit == before / 2
            assert not halved or now - halved[-1] >= WINDOW
            halved.append(now)


def test_a_burst_of_complaints_counts_once_and_the_next_one_counts_again() -> None:
    one = throttle()
    for number in range(50):
        one.too_fast(100.0 + number / 100, None)
    assert one.limit == MOST / 4
    one.too_fast(100.0 + WINDOW, None)
    assert one.limit == MOST / 8


def test_a_fast_start_doubles_with_each_round_until_the_first_complaint() -> None:
    one = throttle(200)
    for _ in range(100):  # a whole round: half of what is allowed
        one.well()
    assert one.limit == 200
    one.too_fast(1.0, None)
    assert one.limit == 100


def test_after_a_complaint_it_grows_by_one_a_round_and_comes_back_to_the_most() -> None:
    one = throttle(20)
    one.too_fast(1.0, None)
    before = one.limit
    for _ in range(int(before)):
        one.well()
    assert before + 0.9 < one.limit <= before + 1
    for _ in range(400):  # 8 + 9 + ... + 19 answers are enough
        one.well()
    assert one.limit == 20


def test_a_wait_that_was_asked_for_holds_for_all_and_is_never_cut_short_by_a_shorter_one() -> None:
    for tell in (Throttle.too_fast, Throttle.broken):
        one = throttle()
        tell(one, 10.0, 3_600.0)
        tell(one, 11.0, 5.0)
        assert one.open_at == one.asked_until == 3_610.0


def test_a_complaint_without_a_wait_closes_nothing() -> None:
    one = throttle()
    one.too_fast(10.0, None)
    assert one.open_at == 0.0


def test_errors_in_a_row_close_the_run_for_longer_each_time_until_something_works() -> None:
    one, now, closed = throttle(), 100.0, []
    for _ in range(TROUBLE - 1):
        one.broken(now, None)
    assert one.open_at == 0.0
    for _ in range(12):
        one.broken(now, None)
        assert one.limit == 1.0
        closed.append(one.open_at - now)
        now = one.open_at
    for number, seconds in enumerate(closed):
        whole = min(LONGEST, 2.0**number)
        assert whole / 2 <= seconds <= whole
    one.well()
    for _ in range(TROUBLE - 1):
        one.broken(now, None)
    assert one.open_at == now  # as many as before are needed again
    one.broken(now, None)
    assert one.open_at - now <= 1.0


def test_what_flew_when_the_run_was_closed_does_not_close_it_for_longer() -> None:
    """32 calls that fail together are one closing, not 27."""
    one = throttle()
    for _ in range(TROUBLE):
        one.broken(100.0, None)
    first = one.open_at
    for _ in range(27):
        one.broken(100.01, None)
    assert one.open_at == first


def test_after_trouble_it_grows_quickly_again() -> None:
    one = throttle()
    for number in range(TROUBLE):
        one.broken(100.0 + number, None)
    assert one.limit == 1.0
    for _ in range(MOST):
        one.well()
    assert one.limit == MOST


@given(st.integers(0, 10_000), st.floats(0.001, 2), st.integers())
def test_a_backoff_has_chance_in_it_and_ends_at_a_minute(tries: int, first: float, seed: int) -> None:
    found = Throttle(8, first, chance=random.Random(seed)).backoff(tries)
    whole = min(LONGEST, first * 2 ** min(tries, 10))
    assert whole / 2 <= found <= whole


def test_two_calls_do_not_wait_equally_long() -> None:
    one = throttle()
    assert len({one.backoff(3) for _ in range(20)}) == 20
