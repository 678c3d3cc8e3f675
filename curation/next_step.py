"""The one thing to do next: where the rows are decides it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NextStep:
    """What a person should do now, why, and on which page."""

    page: str  # import | clean | near-duplicates | decontaminate | review | datasets | train
    title: str
    why: str
    button: str


TITLES = {
    "clean": ("Drop exact duplicates", "Takes seconds; the longest response of equal tasks stays."),
    "near-duplicates": (
        "Find near-duplicates",
        "Compares every row with every other. Rows alike beyond doubt are dropped, gray ones asked about.",
    ),
    "decontaminate": (
        "Check for benchmark tasks",
        "Rows that give away tasks of HumanEval, MBPP or others would inflate every score measured later.",
    ),
}


def next_step(
    samples: int,
    stages: Sequence[Mapping[str, Any]],
    open_questions: int,
    newest_is_current: bool | None,
    newest_is_trained: bool = True,
) -> NextStep:
    """Give the next step. `stages` are those of the funnel, in the order data flows.

    `newest_is_current` says whether the newest version was made from the rows as they are; None: no version.
    `newest_is_trained` says whether a run of it exists.
    """
    if not samples:
        return NextStep("import", "Bring some data", "This workspace is empty.", "Import my data")
    for stage in stages:
        title, why = TITLES[stage["stage"]]
        if not stage["ran"]:
            return NextStep(stage["stage"], title, why, f"Go to {title.lower()}")
        if stage["stale"]:
            rows = f"{stage['stale']:,} {'row' if stage['stale'] == 1 else 'rows'} changed since it ran."
            return NextStep(stage["stage"], f"Run again: {title.lower()}", rows, "Run it again")
    if open_questions and not newest_is_current:
        cases = "1 question waits" if open_questions == 1 else f"{open_questions:,} questions wait"
        why = f"{cases} for a person. Answer them, or freeze now and say what happens to open ones."
        return NextStep("review", "Review the gray cases", why, "Start reviewing")
    if newest_is_current is None:
        return NextStep(
            "datasets", "Freeze the set", "Every stage ran and nothing is open.", "Freeze a version"
        )
    if not newest_is_current:
        return NextStep(
            "datasets", "Freeze a new version", "Rows changed since the newest one.", "Freeze a version"
        )
    if not newest_is_trained:
        return NextStep(
            "train",
            "Train on it",
            "The newest version holds the rows as they are, and nothing was trained on it yet.",
            "Train on it",
        )
    return NextStep(
        "datasets", "Export the set", "The newest version holds the rows as they are.", "Export or download"
    )
