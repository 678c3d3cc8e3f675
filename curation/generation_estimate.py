"""What a full run will take, from a test run: tokens, money and time, each with a range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from scipy.stats import t as student

from curation.budget import Prices
from curation.store import generations, seeds
from curation.store.database import Database

# What the formula promises. Lengths are no perfect lognormals, and asking on until the range is narrow enough
# favours ranges that are so by chance: 97 of 100 runs ended inside (tests/test_generation_estimate.py).
SURE = 0.99
WIDEST = 0.35  # half of the range over its middle: wider is told as "not known yet"
LEAST = 3  # replies that an estimate needs
MOST_MORE = 50  # further test calls that are asked for at a time


@dataclass(frozen=True, slots=True)
class Range:
    """A number that is not known yet. The middle of tokens, money and time lies as far from both ends."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.middle * factor, self.high * factor)

    def and_(self, other: "Range") -> "Range":
        """Add another: at worst, both end at the same side."""
        return Range(self.low + other.low, self.middle + other.middle, self.high + other.high)

    @property
    def half_width(self) -> float:
        """Give half of the range over its middle."""
        return (self.high - self.low) / 2 / self.middle if self.middle else 0.0

    def plus(self, known: float) -> "Range":
        return Range(self.low + known, self.middle + known, self.high + known)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a generation of `wanted` seeds takes in all, what is done already included."""

    wanted: int
    left: int  # of them, that nothing was decided on yet
    measured: int  # replies that it rests on
    tokens: Range
    tokens_in: Range
    tokens_out: Range
    money: Range | None
    seconds: Range  # of what is left
    kept: Range  # samples
    more: int  # further test calls that would bring the range within WIDEST; 0: it is


@dataclass(frozen=True, slots=True)
class Reply:
    """What one answered call took, and the second request for it."""

    prompt_chars: int
    tokens_in: int
    tokens_out: int
    seconds: float
    is_wanted: bool = True  # one of those that are foreseen; else it only tells how long replies are


def estimate(
    replies: Sequence[Reply], decided: int, kept: int, prompt_chars: int, wanted: int, at_once: int,
    prices: Prices | None = None,
) -> Estimate | None:  # fmt: skip
    """Foresee a run over `wanted` prompts of `prompt_chars` characters in all, of which `decided` are done;
    None: too few replies.

    Tokens in go by a prompt's characters, tokens out and seconds by reply: see `_Spread.rest`.
    """
    if len(replies) < LEAST or not wanted:
        return None
    left = max(0, wanted - decided)
    ours = [one for one in replies if one.is_wanted]
    chars_left = max(0, prompt_chars - sum(one.prompt_chars for one in ours))
    parts = _Parts(
        _Spread.of([one.tokens_in / max(1, one.prompt_chars) for one in replies]),
        chars_left / max(1, left),
        _Spread.of([float(one.tokens_out) for one in replies]),
    )
    tokens_in, tokens_out = parts.after(0, left)
    tokens_in = tokens_in.plus(sum(one.tokens_in for one in ours))
    tokens_out = tokens_out.plus(sum(one.tokens_out for one in ours))
    known = float(sum(one.tokens_in + one.tokens_out for one in ours))
    times = _Spread.of([one.seconds for one in replies])
    return Estimate(
        wanted, left, len(replies), tokens_in.and_(tokens_out), tokens_in, tokens_out,
        None if prices is None else _money(prices, tokens_in, tokens_out),
        times.rest(left).times(1 / max(1, min(at_once, left))), _kept(decided, kept, wanted),
        parts.more(known, left),
    )  # fmt: skip


def _money(prices: Prices, tokens_in: Range, tokens_out: Range) -> Range:
    return Range(
        prices.of(tokens_in.low, tokens_out.low),
        prices.of(tokens_in.middle, tokens_out.middle),
        prices.of(tokens_in.high, tokens_out.high),
    )


@dataclass(frozen=True, slots=True)
class _Spread:
    """How numbers above 0 are spread."""

    n: int
    mean: float
    log_mean: float  # what their mean is expected to be if they are lognormal
    variance: float  # of their logarithms

    @staticmethod
    def of(values: Sequence[float]) -> "_Spread":
        n, mean = len(values), sum(values) / len(values)
        if not mean:
            return _Spread(n, 0.0, 0.0, 0.0)
        logs = [math.log(max(one, mean / 1_000)) for one in values]  # an empty reply has no logarithm
        centre = sum(logs) / n
        variance = sum((one - centre) ** 2 for one in logs) / (n - 1)
        return _Spread(n, mean, math.exp(centre + variance / 2), variance)

    def rest(self, left: int) -> Range:
        """Foresee the sum of `left` more of them.

        Lengths of replies are skewed: the mean and its error by Student's t missed one sum of ten where their
        logarithms vary by 0.5, and one of five at 0.9. So the range is one of logarithms: Cox's interval for
        the mean of a lognormal (Zhou and Gao 1997, t instead of z), widened by the chance of the sum itself.
        """
        if not left or not self.mean:
            return Range(0.0, 0.0, 0.0)
        v = self.variance
        error = v / self.n + v * v / (2 * (self.n - 1)) + math.log1p(math.expm1(v) / left)
        factor = math.exp(_quantile(self.n - 1) * math.sqrt(error))
        low = left * min(self.mean, self.log_mean) / factor
        high = left * max(self.mean, self.log_mean) * factor
        return Range(low, (low + high) / 2, high)


@lru_cache(maxsize=1_024)
def _quantile(freedom: int) -> float:
    return float(student.ppf((1 + SURE) / 2, freedom))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the tokens of a run are made of."""

    per_char: _Spread  # tokens in for a character of a prompt
    chars: float  # of a prompt that is still to be sent
    lengths: _Spread  # tokens out

    def after(self, more: int, left: int) -> tuple[Range, Range]:
        """Foresee tokens in and out of `left` more, if `more` replies like those before were known, too."""
        ratios, lengths = (replace(one, n=one.n + more) for one in (self.per_char, self.lengths))
        return ratios.rest(left).times(self.chars), lengths.rest(left)

    def more(self, known: float, left: int) -> int:
        """Say how many more replies would bring the range of all tokens within WIDEST; 0: it is."""
        each = self.per_char.mean * self.chars + self.lengths.mean
        most = min(MOST_MORE, left)
        for more in range(most):
            tokens_in, tokens_out = self.after(more, left - more)
            if tokens_in.and_(tokens_out).plus(known + more * each).half_width <= WIDEST:
                return more
        return most


def _kept(decided: int, kept: int, wanted: int) -> Range:
    """Foresee how many samples there will be: those there are, and some of the rest.

    Their share lies in Wilson's interval; what chance makes of it among few is added to that.
    """
    left = max(0, wanted - decided)
    if not decided:
        return Range(0.0, 0.0, float(wanted))
    z, share = 1.96, kept / decided
    middle = (share + z * z / (2 * decided)) / (1 + z * z / decided)
    wilson = z * math.sqrt(share * (1 - share) / decided + z * z / (4 * decided**2)) / (1 + z * z / decided)
    half = math.hypot(left * wilson, z * math.sqrt(left * middle * (1 - middle)))
    low, high = max(0.0, left * middle - half), min(float(left), left * middle + half)
    return Range(low, share * left, high).plus(kept)


def estimate_of(
    db: Database, generation_id: str, ids: Sequence[str], draws: int, overhead: int, at_once: int,
    prices: Prices | None = None,
) -> Estimate | None:  # fmt: skip
    """Foresee a generation over these seeds; `overhead`: characters of a prompt without its seed."""
    chosen = frozenset(ids)
    with db.reading() as connection:
        items = generations.items(connection, generation_id)
        sizes = seeds.sizes(connection)
        replies = [
            Reply(
                overhead + sizes.get(row.subject, 0), row.tokens_in, row.tokens_out, row.seconds or 0.0,
                row.subject in chosen and row.draw < draws,
            )
            for row in generations.answered(connection, generation_id)
        ]  # fmt: skip
    found = [one for one in items if one.subject in chosen and one.draw < draws]
    decided = [one for one in found if one.state != generations.WAITING]
    kept = sum(one.state == generations.KEPT for one in decided)
    chars = sum(overhead + sizes.get(id, 0) for id in ids) * draws
    return estimate(replies, len(decided), kept, chars, len(ids) * draws, at_once, prices)
