"""What a person chooses about near-duplicates: thresholds, the text compared, the keep rule, presets.

Source: Platypus section 2.2 (0.8 cosine of all-MiniLM-L6-v2 over instruction and input; the longer answer
stays) and its notebook (0.7, first seen). The band from 0.80 to 0.88 and the review budget are Winnow's own
(design.md, the table of defaults).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from curation import keep_rules
from curation.embedding import BUNDLED
from curation.errors import WrongInput
from curation.records import question_of

STAGE = "near-duplicates"
SURE = 0.88  # at or above: dropped without asking


@dataclass(frozen=True)
class Settings:
    """What a person may choose."""

    threshold: float = 0.8  # Platypus section 2.2
    floor: float = 0.7  # the notebook's threshold; pairs below are not even listed
    text: str = "instruction"  # or "response", "all"
    keep: str = "longest"  # or another of keep_rules.RULES
    sources: tuple[str, ...] = ()  # with keep "source": the best first
    budget: int = 500  # pairs that people are asked about
    ask_low: float | None = None  # None: the threshold
    ask_high: float = SURE
    model: str = BUNDLED
    preset: str | None = None
    draft: bool = False  # bfloat16 first, float32 where a pair may hang on it (draft_vectors)
    opinions: bool = False  # words and code compared, too (second_opinions)
    judged_to: int | None = None  # with keep "judge": the newest judgement that counts; set by the run itself

    def __post_init__(self) -> None:
        """Raises WrongInput when the numbers do not fit together."""
        if not 0.0 <= self.floor <= self.threshold <= 1.0:
            raise WrongInput(
                f"--floor {self.floor} and --threshold {self.threshold} must satisfy "
                "0 <= floor <= threshold <= 1"
            )
        if not self.floor <= self.low <= 1.0 or self.low > max(self.ask_high, self.threshold):
            raise WrongInput(f"--ask {self.low}:{self.ask_high} must satisfy floor <= LOW <= HIGH")
        if self.budget < 0:
            raise WrongInput(f"--budget {self.budget} must be 0 or more")
        keep_rules.check(self.keep, self.sources)

    @property
    def low(self) -> float:
        return self.threshold if self.ask_low is None else self.ask_low

    @property
    def asks(self) -> bool:
        return self.preset is None and self.budget > 0

    @property
    def checks_responses(self) -> bool:
        return self.preset is None and self.text == "instruction"

    @property
    def middle(self) -> float:
        return (self.low + self.ask_high) / 2


PRESETS = {
    "paper": Settings(threshold=0.8, keep="longest", budget=0, preset="paper"),
    # The notebook drops above 0.7, not at it; so does this preset (near_duplicates, `_edges`).
    "notebook": Settings(threshold=0.7, keep="first", budget=0, preset="notebook"),
}
FIXED = frozenset({"threshold", "keep", "sources", "budget", "ask_low", "ask_high"})  # what a preset decides


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Make settings of what a page or a command line was given; None: not given.

    A floor that is not given follows what is looked at: pairs below it are not stored. Raises WrongInput.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if "sources" in said:
        said["sources"] = tuple(said["sources"])
    preset = said.pop("preset", None)
    if preset is not None:
        if preset not in PRESETS:
            raise WrongInput(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
        if FIXED & said.keys():
            raise WrongInput(
                f"--preset {preset} fixes --threshold, --keep, --sources, --budget and --ask; leave them out"
            )
        return _with_floor(replace(PRESETS[preset], **said), "floor" in said)
    return _with_floor(Settings(**{"floor": 0.0, **said}), "floor" in said)


def _with_floor(settings: Settings, is_given: bool) -> Settings:
    """Choose the floor. A draft run has none below what decides: another edge costs rows embedded twice."""
    if is_given:
        return settings
    lowest = min(settings.threshold, settings.low)
    return replace(settings, floor=lowest if settings.draft else min(Settings.floor, lowest))


def settings_of(run: Any) -> Settings:
    """Read the settings of a run back."""
    given = {key: value for key, value in run.settings.items() if key != "model_hash"}
    return Settings(**{**given, "sources": tuple(given.get("sources", ()))})


def text_to_compare(settings: Settings) -> Callable[[Any], str]:
    """Choose the text whose vectors are compared (design.md, `near-duplicates --text`)."""
    return {
        "instruction": lambda row: question_of(row.instruction, row.input),
        "response": lambda row: row.response,
        "all": lambda row: "\n".join((row.instruction, row.input, row.response)),
    }[settings.text]
