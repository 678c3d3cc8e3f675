"""What a generation may cost: every call's worst case is reserved before it is sent, so that no budget is
ever passed."""

from dataclasses import dataclass

from curation.errors import WrongInput

TOKENS = 1_000_000  # a budget always: about 500 to 800 samples of OSS-Instruct
PER_PRICE = 1_000_000  # tokens that a price is for


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in any currency; a person enters it, Winnow ships none."""

    given: float  # tokens that we send
    made: float  # tokens that the teacher writes

    def of(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.given + tokens_out * self.made) / PER_PRICE


@dataclass
class Budget:
    """Tokens, and money where prices are known: spent, reserved, allowed."""

    tokens: int
    prices: Prices | None = None
    money: float | None = None
    spent_in: int = 0
    spent_out: int = 0
    _reserved_in: int = 0
    _reserved_out: int = 0

    def __post_init__(self) -> None:
        """Raises WrongInput for what is no budget."""
        if self.tokens < 1:
            raise WrongInput(f"--budget-tokens {self.tokens} must be at least 1")
        if self.money is not None and self.prices is None:
            raise WrongInput("--budget-money needs --price-in and --price-out, for a million tokens each")
        if self.money is not None and not 0 < self.money < float("inf"):
            raise WrongInput(f"--budget-money {self.money} must be above 0")

    @property
    def spent(self) -> int:
        return self.spent_in + self.spent_out

    @property
    def spent_money(self) -> float | None:
        return None if self.prices is None else self.prices.of(self.spent_in, self.spent_out)

    @property
    def has_reserved(self) -> bool:
        return bool(self._reserved_in or self._reserved_out)

    def reserve(self, tokens_in: int, tokens_out: int) -> bool:
        """Set the worst case of a call aside; False when that could pass the budget."""
        all_in = self.spent_in + self._reserved_in + tokens_in
        all_out = self.spent_out + self._reserved_out + tokens_out
        if all_in + all_out > self.tokens:
            return False
        if (
            self.money is not None
            and self.prices is not None
            and self.prices.of(all_in, all_out) > self.money
        ):
            return False
        self._reserved_in += tokens_in
        self._reserved_out += tokens_out
        return True

    def hold(self, tokens_in: int, tokens_out: int) -> None:
        """Set aside what was sent before, whatever this budget says: it cannot be called back."""
        self._reserved_in += tokens_in
        self._reserved_out += tokens_out

    def used_up(self, worst: int) -> str:
        """Tell a person that the next call, of so many tokens at most, has no room."""
        spent = f"{self.spent:,} of {self.tokens:,} tokens"
        money = self.spent_money
        if money is not None and self.money is not None and self.spent + worst <= self.tokens:
            spent = f"{money:,.4f} of {self.money:,.4f} (in the currency of the prices)"
        return (
            f"The budget is used up: {spent} are spent, and the next call could take {worst:,} tokens. Raise "
            "it, then go on; nothing is asked twice"
        )

    def settle(self, reserved: tuple[int, int], used: tuple[int, int]) -> None:
        """Give back what a call had reserved and count what it used."""
        self._reserved_in -= reserved[0]
        self._reserved_out -= reserved[1]
        self.spent_in += used[0]
        self.spent_out += used[1]
