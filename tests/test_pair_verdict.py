"""A verdict on any pair of the run: it takes effect at once as a vote does, also where nothing was asked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from curation import review, review_pace
from curation.cli import main
from curation.errors import WrongInput
from curation.near_duplicates import near_duplicates
from curation.pair_settings import Settings
from curation.pair_verdict import judge_pair
from curation.review_pace import pace
from curation.store import reviews
from curation.workspace import Workspace
from tests.test_near_duplicates import ROWS, add, keepers, questions, same_as_a_full_run, states

pytestmark = pytest.mark.usefixtures("one_model")

SURE = ("sum-integers", "sum")  # alike beyond doubt: `sum` stays, and nobody is asked


@pytest.fixture
def unrun(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    add(made, list(ROWS))
    return made


@pytest.fixture
def asked(unrun: Workspace) -> Workspace:
    """Give a workspace in which the questions wait for answers."""
    near_duplicates(unrun, Settings())
    return unrun


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("verdict", "first", "second"),
    [
        ("keep-both", "kept", "kept"),
        ("keep-left", "kept", "dropped"),
        ("keep-right", "dropped", "kept"),
        ("drop-both", "dropped", "dropped"),
    ],
)
def test_a_pair_that_was_dropped_without_asking_can_be_judged(
    asked: Workspace,
    verdict: str,
    first: str,
    second: str,
    turned: bool,
) -> None:
    assert (states(asked)["sum-integers"], states(asked)["sum"]) == ("dropped", "kept")
    before = questions(asked, "open")
    ends = SURE[::-1] if turned else SURE
    said = {"keep-left": "keep-right", "keep-right": "keep-left"}.get(verdict, verdict) if turned else verdict
    assert judge_pair(asked, *ends, said).changed
    assert (states(asked)["sum-integers"], states(asked)["sum"]) == (first, second)
    assert SURE not in questions(asked, "open"), "what was not asked does not become a question"
    assert set(before) - set(questions(asked)) <= {pair for pair in before if set(pair) & set(SURE)}
    same_as_a_full_run(asked)


def test_it_is_a_vote_kept_once_and_taken_back_as_any_other(asked: Workspace) -> None:
    before = states(asked), keepers(asked)
    first = judge_pair(asked, *SURE, "keep-both", "ann")
    again = judge_pair(asked, *SURE, "keep-both", "ann")
    other = judge_pair(asked, *SURE, "keep-left", "ann")
    assert (first.changed, again.changed, other.changed) == (True, False, False)
    assert "take it back" in other.message
    review.undo(asked, "ann", first.item)
    assert (states(asked), keepers(asked)) == before
    assert judge_pair(asked, *SURE, "keep-left", "ann").changed
    assert states(asked)["sum-integers"] == "kept"


def test_a_pair_that_is_asked_is_settled_as_by_its_question(asked: Workspace) -> None:
    assert judge_pair(asked, "hash", "hash-what", "keep-both").changed
    assert ("hash", "hash-what") in questions(asked, "settled")
    same_as_a_full_run(asked)


@pytest.mark.parametrize(
    ("left", "right", "verdict", "told"),
    [
        ("sum", "prime", "keep-both", "decides on pairs from 0.80 on"),
        ("sum", "nobody", "keep-both", "begins with 'nobody'"),
        ("sum", "sum-integers", "keep", "no verdict on a pair"),
    ],
)
def test_what_cannot_be_judged_is_told(
    asked: Workspace,
    left: str,
    right: str,
    verdict: str,
    told: str,
) -> None:
    with pytest.raises(WrongInput, match=told):
        judge_pair(asked, left, right, verdict)


def test_before_the_stage_ran_nothing_can_be_judged(unrun: Workspace) -> None:
    with pytest.raises(WrongInput, match="run `near-duplicates` first"):
        judge_pair(unrun, *SURE, "keep-both")


def test_the_terminal_judges_the_same(asked: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    asked.database.close()
    where = ["--workspace", str(asked.folder), "--json"]
    assert main(["review", "pair", *SURE, "keep-both", "--as", "ann", *where]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["changed"] and said["settled"] == 1
    assert states(asked)["sum-integers"] == "kept"


# --- how long a case takes ---


def at(seconds: float) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.fixture
def voted(tmp_path: Path) -> Callable[[dict[str, list[float]]], Workspace]:
    def make(moments: dict[str, list[float]]) -> Workspace:
        made = Workspace(tmp_path / "votes")
        with made.database.transaction() as connection:
            for person, seconds in moments.items():
                for moment in seconds:
                    values: dict[str, Any] = {
                        "client_id": f"{person}{moment}", "item_id": f"{moment}", "item_version": 1,
                        "note": "", "verdict": "keep-both", "person": person, "kind": "near-duplicates",
                        "at": at(moment), "subject": {"left": "a", "right": "b"}, "undoes": None,
                    }  # fmt: skip
                    reviews.add_vote(connection, values)
        return made

    return make


def test_the_pace_is_the_median_between_votes_of_one_person_and_leaves_breaks_out(voted: Any) -> None:
    ann = [n * 8.0 for n in range(8)] + [5_000.0 + n * 8 for n in range(3)]  # nine gaps of 8 s, one break
    assert pace(voted({"ann": ann, "bob": [4.0, 34.0, 70.0]})) == (8.0, True)


def test_without_ten_gaps_the_pace_is_a_guess_and_says_so(voted: Any) -> None:
    assert pace(voted({"ann": [0.0, 5.0, 10.0]})) == (review_pace.UNTOLD, False)
