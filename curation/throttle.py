"""How many calls may fly at once, and when none may: grows while all is well, halves when told to slow down.

Times are those of a clock that only goes forward, in seconds; the caller says what time it is.
"""

import random
from dataclasses import dataclass, field

FIRST = 16  # calls at once to begin with, or half of what is allowed
WINDOW = 1.0  # seconds in which several complaints count as one: they answer the same burst
TROUBLE = 5  # errors in a row, of any call, from which the whole run waits
FIRST_WAIT = 1.0  # seconds before a second try, at most; doubled before each that follows
LONGEST = 60.0  # seconds between two tries while nothing works


@dataclass
class Throttle:
    """Additive increase, multiplicative decrease, as TCP does it (RFC 5681): a doubling start until the first
    complaint, then one more call for each whole round that went well."""

    most: int  # calls at once, as a person allows
    first_wait: float = FIRST_WAIT
    limit: float = 0.0
    open_at: float = 0.0  # before that nothing is sent
    asked_until: float = 0.0  # the part of it that the server asked for
    _halved_at: float = -WINDOW
    _has_met_limit: bool = False
    _errors: int = 0  # in a row
    _closings: int = 0  # in a row
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self.limit = float(min(max(FIRST, self.most // 2), self.most))

    def well(self) -> None:
        """Note an answer."""
        self._errors = self._closings = 0
        step = 1.0 / self.limit if self._has_met_limit else 1.0
        self.limit = min(float(self.most), self.limit + step)

    def too_fast(self, now: float, wait: float | None) -> None:
        """Note a 429; `wait` is what the server asks for, and holds for all calls."""
        self._halve(now)
        self._wait_as_asked(now, wait)

    def broken(self, now: float, wait: float | None) -> None:
        """Note an error of the server or the network. After several in a row one call at a time tries."""
        self._halve(now)
        self._errors += 1
        self._wait_as_asked(now, wait)
        if self._errors >= TROUBLE and now >= self.open_at:
            self.open_at = now + self.backoff(self._closings)
            self._closings += 1
            self.limit = 1.0
            self._has_met_limit = False  # what comes back grows quickly again

    def _wait_as_asked(self, now: float, wait: float | None) -> None:
        if wait is not None:
            self.asked_until = max(self.asked_until, now + wait)
            self.open_at = max(self.open_at, self.asked_until)

    def _halve(self, now: float) -> None:
        if now - self._halved_at >= WINDOW:
            self.limit = max(1.0, self.limit / 2)
            self._halved_at = now
        self._has_met_limit = True

    def backoff(self, tries: int) -> float:
        """Give the seconds before another try: up to 1, 2, 4 ... 60 after so many (0, 1, 2 ...) in vain, of
        which half is chance."""
        whole = min(LONGEST, self.first_wait * 2.0 ** min(tries, 10))
        return whole * (0.5 + self.chance.random() / 2)
