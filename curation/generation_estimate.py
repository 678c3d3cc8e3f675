"""What a full run will take, from a test run: tokens, money and time, each with a range."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from curation.budget import Prices
from curation.store import generations, seeds
from curation.store.database import Database

SURE = 0.95  # of a hundred full runs so many end inside the range, if replies are drawn alike
WIDEST = 0.35  # half of the range over its middle: wider is told as "not known yet"
LEAST = 3  # replies that an estimate needs
MOST_MORE = 50  # further test calls that are asked for at a time


@dataclass(frozen=True, slots=True)
class Range:
    """A number that is not known yet."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.middle * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a generation of `wanted` seeds takes in all, what is done already included."""

    wanted: int
    measured: int  # replies that it rests on
    tokens: Range
    tokens_in: float
    tokens_out: Range
    money: Range | None
    seconds: Range  # of what is left
    kept: Range  # samples
    more: int  # further test calls that would bring the range within WIDEST; 0: it is


@dataclass(frozen=True, slots=True)
class Reply:
    """What one reply took."""

    prompt_chars: int
    tokens_in: int
    tokens_out: int
    seconds: float


def estimate(
    replies: Sequence[Reply], decided: int, kept: int, prompt_chars: int, wanted: int, at_once: int,
    prices: Prices | None = None,
) -> Estimate | None:  # fmt: skip
    """Foresee a run over `wanted` prompts of `prompt_chars` characters in all; None: too few replies.

    Tokens in follow the length of the prompts. Tokens out: mean and Student's t over the replies, for the sum
    of those that are still to come.
    """
    if len(replies) < LEAST or not wanted:
        return None
    n = len(replies)
    left = max(0, wanted - n)
    chars = sum(one.prompt_chars for one in replies)
    known_in, known_out = sum(one.tokens_in for one in replies), sum(one.tokens_out for one in replies)
    tokens_in = max(float(known_in), known_in / max(1, chars) * prompt_chars)
    out = _sum_of_rest([float(one.tokens_out) for one in replies], left, float(known_out))
    tokens = Range(tokens_in + out.low, tokens_in + out.middle, tokens_in + out.high)
    money = None if prices is None else Range(
        *(prices.of(tokens_in, value) for value in (out.low, out.middle, out.high))
    )  # fmt: skip
    seconds = _sum_of_rest([one.seconds for one in replies], left, 0.0).times(1 / max(1, min(at_once, left)))
    return Estimate(
        wanted, n, tokens, tokens_in, out, money, seconds, _kept(decided, kept, wanted),
        _more([float(one.tokens_out) for one in replies], tokens, left),
    )  # fmt: skip


def _sum_of_rest(values: Sequence[float], left: int, known: float) -> Range:
    """Foresee the sum of `left` more values of this kind, on top of what is known."""
    n = len(values)
    mean = sum(values) / n
    spread = _spread(values)
    # Of the rest's own chance, and of how little is known of the mean.
    error = student.ppf((1 + SURE) / 2, n - 1) * spread * math.sqrt(left + left * left / n)
    middle = known + mean * left
    return Range(max(known, middle - error), middle, middle + error)


def _spread(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((one - mean) ** 2 for one in values) / (len(values) - 1))


def _more(values: Sequence[float], tokens: Range, left: int) -> int:
    """Say how many more replies bring the range of all tokens within WIDEST."""
    if tokens.high - tokens.middle <= WIDEST * tokens.middle or not left:
        return 0
    n, spread = len(values), _spread(values)
    for more in range(1, MOST_MORE):
        rest = max(0, left - more)
        error = (
            student.ppf((1 + SURE) / 2, n + more - 1) * spread * math.sqrt(rest + rest * rest / (n + more))
        )
        if error <= WIDEST * tokens.middle:
            return min(more, left)
    return min(MOST_MORE, left)


def _kept(decided: int, kept: int, wanted: int) -> Range:
    """Foresee how many samples there will be (Wilson's interval of a share)."""
    if not decided:
        return Range(0.0, 0.0, float(wanted))
    z, share = 1.96, kept / decided
    middle = (share + z * z / (2 * decided)) / (1 + z * z / decided)
    half = z * math.sqrt(share * (1 - share) / decided + z * z / (4 * decided**2)) / (1 + z * z / decided)
    return Range((middle - half) * wanted, share * wanted, min(1.0, middle + half) * wanted)


def estimate_of(
    db: Database, generation_id: str, ids: Sequence[str], draws: int, overhead: int, at_once: int,
    prices: Prices | None = None,
) -> Estimate | None:  # fmt: skip
    """Foresee a generation over these seeds; `overhead`: characters of a prompt without its seed."""
    with db.reading() as connection:
        found = {one.subject: one for one in generations.items(connection, generation_id)}
        sizes = seeds.sizes(connection)
        replies = [
            Reply(overhead + sizes.get(row.subject, 0), row.tokens_in, row.tokens_out, row.seconds or 0.0)
            for row in generations.answered(connection, generation_id)
        ]
    decided = [one for one in found.values() if one.state != generations.WAITING]
    kept = sum(one.state == generations.KEPT for one in decided)
    chars = sum(overhead + sizes.get(id, 0) for id in ids) * draws
    return estimate(replies, len(decided), kept, chars, len(ids) * draws, at_once, prices)
