"""The one thing to do next follows from where the rows are."""

from typing import Any

import pytest

from curation.next_step import next_step

NAMES = ("clean", "near-duplicates", "decontaminate")


def stages(ran: int, stale: str = "", rows: int = 312) -> list[dict[str, Any]]:
    return [
        {"stage": name, "ran": n < ran, "stale": rows if name == stale else 0} for n, name in enumerate(NAMES)
    ]


@pytest.mark.parametrize(
    ("samples", "told", "open_questions", "newest", "page"),
    [
        (0, stages(0), 0, None, "import"),
        (9, stages(0), 0, None, "clean"),
        (9, stages(1), 0, None, "near-duplicates"),
        (9, stages(2), 7, None, "decontaminate"),
        (9, stages(3, "clean"), 7, None, "clean"),
        (9, stages(3, "decontaminate"), 7, True, "decontaminate"),
        (9, stages(3), 7, None, "review"),
        (9, stages(3), 7, False, "review"),
        (9, stages(3), 7, True, "datasets"),
        (9, stages(3), 0, None, "datasets"),
    ],
)
def test_the_first_thing_that_is_missing_comes_first(
    samples: int, told: list[dict[str, Any]], open_questions: int, newest: bool | None, page: str
) -> None:
    assert next_step(samples, told, open_questions, newest).page == page


def test_a_stale_stage_says_how_many_rows() -> None:
    assert "312 rows changed" in next_step(9, stages(3, "clean"), 0, None).why
    assert "1 row changed" in next_step(9, stages(3, "clean", 1), 0, None).why


def test_words_tell_a_first_version_from_a_new_one_and_from_an_export() -> None:
    titles = [next_step(9, stages(3), 0, newest).title for newest in (None, False, True)]
    assert titles == ["Freeze the set", "Freeze a new version", "Export the set"]


def test_a_current_version_that_nobody_trained_on_is_trained_next() -> None:
    step = next_step(9, stages(3), 7, True, newest_is_trained=False)
    assert (step.page, step.title) == ("train", "Train on it")
    assert next_step(9, stages(3), 0, False, newest_is_trained=False).title == "Freeze a new version"
