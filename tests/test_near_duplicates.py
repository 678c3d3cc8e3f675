"""Near-duplicates on hand-written rows and the real model: which row stays, and what people change."""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curation import pair_case, pair_settings, review
from curation.clean import clean
from curation.errors import DamagedWorkspace, WrongInput
from curation.near_duplicates import near_duplicates
from curation.pair_settings import PRESETS, STAGE, Settings
from curation.records import Sample
from curation.run_edges import edges_file
from curation.store import decisions, reviews, runs, samples
from curation.workspace import Workspace

pytestmark = pytest.mark.usefixtures("one_model")

# In import order. The comments give the cosine of the questions and, after a slash, of the responses.
ROWS = {
    "sum-integers": (  # sum .968 / .99
        "Write a Python function that returns the sum of a list of integers.",
        "def total(numbers):\n    return sum(numbers)  # adds up the list",
    ),
    "sum": (
        "Write a Python function that returns the sum of a list of numbers.",
        "def total(numbers):\n    return sum(numbers)  # adds up every number in the list",
    ),
    "sum-add-up": (  # sum .830, sum-integers .798
        "Write a Python function to add up the numbers in a list.",
        "def total(numbers):\n    return sum(numbers)",
    ),
    "product": (  # sum .773, sum-integers .742
        "Write a Python function that returns the product of a list of numbers.",
        "import math\nmath.prod(numbers)",
    ),
    "hash": (
        "Explain what a hash table is.",
        "A hash table maps keys to values through a hash function that picks a bucket.",
    ),
    "hash-what": (  # hash .963 / .26
        "What is a hash table?",
        "import hashlib; print(hashlib.md5(b'x').hexdigest())",
    ),
    "tie-b": (  # tie-a 1.0 / .95, of one length
        "Sort a Python dictionary by its values.",
        "sorted(d.items(), key=lambda j: j[1])",
    ),
    "tie-a": ("Sort a Python dictionary by its values.", "sorted(d.items(), key=lambda i: i[1])"),
    "string-short": ("Reverse a string in Python.", "s[::-1]"),  # string .921 / .46
    "string": (
        "Write a Python function that reverses a string.",
        "def backwards(s):\n    return s[::-1]  # a slice with step -1",
    ),
    "string-given": (  # string .993 / .98
        "Write a Python function that reverses a given string.",
        "def backwards(s):\n    return s[::-1]  # slice",
    ),
    "string-program": (  # string .919 / .65
        "Write a Python program to reverse a string.",
        "print(input()[::-1])",
    ),
    "search-tree": (  # search .838, search-list .709
        "Implement a binary search tree in Python.",
        "class Node: left = right = key = None",
    ),
    "search": (
        "Implement binary search in Python.",
        "import bisect\nplace = bisect.bisect_left(numbers, wanted)",
    ),
    "search-list": (  # search .810
        "Write a Python function that performs binary search on a sorted list.",
        "while low < high: ...",
    ),
    "prime": (
        "Write a Python function that checks whether a number is prime.",
        "all(n % d for d in range(2, n))",
    ),
    "prime-all": (  # prime .816, prime-list .810
        "Write a Python function that finds all prime numbers up to n.",
        "sieve = [True] * n",
    ),
    "prime-list": (  # prime .672
        "Write a function that lists the prime numbers below n.",
        "from sympy import primerange; list(primerange(n))",
    ),
    "capital": ("Give the capital of France.", "Paris"),
    "haiku": ("Write a haiku about autumn leaves.", "Leaves fall, one by one"),
}
ASKED = {  # by default, most uncertain first: pairs in import order
    ("search-tree", "search"): 0.838,
    ("sum", "sum-add-up"): 0.830,
    ("prime", "prime-all"): 0.816,
    ("search", "search-list"): 0.810,
    ("prime-all", "prime-list"): 0.810,
    ("string", "string-program"): 0.919,
    ("string-short", "string"): 0.921,
    ("hash", "hash-what"): 0.963,
}
PENDING = {
    "search-tree",
    "sum-add-up",
    "prime-all",
    "search-list",
    "string-program",
    "string-short",
    "hash-what",
}
DROPPED = {"sum-integers": "sum", "tie-b": "tie-a", "string-given": "string"}  # row -> keeper
KEPT = set(ROWS) - PENDING - set(DROPPED)


def sample(id: str, instruction: str, response: str, input: str = "") -> Sample:
    return Sample(id, instruction, input, response, "hand.json", None, "hand", "MIT", "imported")


def written(id: str) -> Sample:
    return sample(id, *ROWS[id])


@pytest.fixture(scope="module")
def prepared(one_model: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace without samples in which the vectors of every row lie already."""
    folder = tmp_path_factory.mktemp("prepared")
    for settings in (Settings(), Settings(text="response"), Settings(text="all")):
        workspace = Workspace(folder / settings.text)
        add(workspace, ROWS)
        near_duplicates(workspace, settings)
        workspace.database.close()
        shutil.copytree(workspace.embeddings, folder / "whole" / "embeddings", dirs_exist_ok=True)
    empty = Workspace(folder / "whole")
    assert samples.count(empty.database) == 0
    empty.database.close()
    return empty.folder


@pytest.fixture
def new_workspace(prepared: Path, tmp_path: Path):
    """Make workspaces with these rows, in this order."""

    def make(rows: Sequence[str | Sample] = tuple(ROWS), name: str = "workspace") -> Workspace:
        shutil.copytree(prepared, tmp_path / name)
        workspace = Workspace(tmp_path / name)
        add(workspace, rows)
        return workspace

    return make


@pytest.fixture
def workspace(new_workspace) -> Workspace:
    return new_workspace()


def add(workspace: Workspace, rows: Sequence[str | Sample]) -> None:
    with workspace.database.transaction() as connection:
        samples.add(connection, [written(row) if isinstance(row, str) else row for row in rows])


def current(workspace: Workspace) -> Any:
    run = runs.current(workspace.database, STAGE)
    assert run is not None
    return run


def names(workspace: Workspace) -> dict[int, str]:
    return {row.seq: row.id for row in samples.stream(workspace.database, ("id",))}


def states(workspace: Workspace) -> dict[str, str]:
    """Give the state of each row, once it is sure that they add up."""
    run, name = current(workspace), names(workspace)
    with workspace.database.reading() as connection:
        counts = decisions.state_counts_of(connection, run.id)
        rejected = sum(decisions.rejection_counts(connection, run.id).values())
    assert counts["in"] == counts["kept"] + counts["dropped"] + counts["pending"] == len(name)
    assert counts["dropped"] == rejected, "every dropped row has one rejection"
    return {name[one.seq]: one.state for one in decisions.outcomes(workspace.database, run.id)}


def rows_that_are(workspace: Workspace, state: str) -> set[str]:
    return {id for id, now in states(workspace).items() if now == state}


def rejections(workspace: Workspace) -> dict[str, Any]:
    """Give the rejection of each dropped row."""
    found = {}
    for seq, id in names(workspace).items():
        for one in decisions.rejections_of(workspace.database, current(workspace).id, seq):
            assert id not in found
            found[id] = one
    return found


def keepers(workspace: Workspace) -> dict[str, str]:
    return {id: one.evidence["keeper"] for id, one in rejections(workspace).items()}


def questions(workspace: Workspace, state: str | None = None) -> list[tuple[str, str]]:
    return [(one["left"]["id"], one["right"]["id"]) for one in review.items(workspace, state)]


def reference(workspace: Workspace, *pair: str) -> str:
    """Name the review item of a pair as `review list` does."""
    found = [
        one["item"] for one in review.items(workspace) if {one["left"]["id"], one["right"]["id"]} == set(pair)
    ]
    assert len(found) == 1, f"{pair} is not asked"
    return found[0]


def vote(workspace: Workspace, pair: tuple[str, str], verdict: str, person: str = "me") -> review.Voted:
    return review.vote(workspace, reference(workspace, *pair), verdict, person)


# --- the default ---


def test_by_default_the_sure_ones_go_the_gray_ones_are_asked_and_the_rest_stays(workspace: Workspace):
    result = near_duplicates(workspace, Settings())

    assert rows_that_are(workspace, "kept") == KEPT
    assert rows_that_are(workspace, "pending") == PENDING
    assert keepers(workspace) == DROPPED
    assert questions(workspace) == list(ASKED)
    told = {name: result.report[name] for name in ("samples", "kept", "dropped", "pending", "asked")}
    assert told == {"samples": 20, "kept": 10, "dropped": 3, "pending": 7, "asked": 8}
    assert result.report["over_budget"] == 0


def test_the_evidence_names_the_keeper_and_both_cosines(workspace: Workspace):
    near_duplicates(workspace, Settings())

    one = rejections(workspace)["sum-integers"]
    assert one.reason == "near_duplicate"
    assert one.evidence["keeper"] == "sum"
    assert one.evidence["cosine"] == pytest.approx(0.968, abs=0.001)
    assert one.evidence["response_cosine"] == pytest.approx(0.988, abs=0.001)
    assert one.evidence["rule"] == "keep longest"
    assert one.evidence["response_characters"] == [len(ROWS[id][1]) for id in ("sum-integers", "sum")]
    assert "verdict" not in one.evidence


def test_a_question_says_why_it_is_asked(workspace: Workspace):
    near_duplicates(workspace, Settings())

    asked = {(one["left"]["id"], one["right"]["id"]): one for one in review.items(workspace)}
    for pair, cosine in ASKED.items():
        assert asked[pair]["evidence"]["cosine"] == pytest.approx(cosine, abs=0.001)
        assert asked[pair]["state"] == "open"
    assert "gray band" in asked["sum", "sum-add-up"]["evidence"]["why"]
    assert asked["sum", "sum-add-up"]["evidence"]["response_cosine"] is None, "not looked at in the band"
    assert "responses do not (0.257)" in asked["hash", "hash-what"]["evidence"]["why"]
    assert asked["hash", "hash-what"]["left"]["instruction"] == ROWS["hash"][0]


def test_alike_rows_form_clusters_and_the_others_stand_alone(workspace: Workspace):
    result = near_duplicates(workspace, Settings())

    name = names(workspace)
    cluster = {
        name[one.seq]: one.cluster for one in decisions.outcomes(workspace.database, current(workspace).id)
    }
    groups = {id.split("-")[0]: set() for id in ROWS}
    for id, number in cluster.items():
        groups[id.split("-")[0]].add(number)
    assert [cluster[id] for id in ("product", "capital", "haiku")] == [None] * 3
    assert [groups[g] for g in ("sum", "hash", "tie", "string", "search", "prime")] == [{n} for n in range(6)]
    assert result.report["clusters"] == 6


def test_an_equal_call_again_changes_nothing(workspace: Workspace):
    first = near_duplicates(workspace, Settings())
    vote(workspace, ("sum", "sum-add-up"), "keep-both")
    second = near_duplicates(workspace, Settings())

    assert second.unchanged and second.run_id == first.run_id
    assert second.report["pending"] == first.report["pending"] - 1, "the verdict counts"
    assert not near_duplicates(workspace, Settings(budget=499)).unchanged
    assert not near_duplicates(workspace, Settings()).unchanged, "another run was current in between"


def test_new_rows_make_a_new_run_and_only_they_are_embedded(new_workspace):
    workspace = new_workspace([id for id in ROWS if id != "hash-what"])
    near_duplicates(workspace, Settings())
    assert ("hash", "hash-what") not in questions(workspace)
    add(workspace, ["hash-what"])

    assert not near_duplicates(workspace, Settings()).unchanged
    assert states(workspace)["hash-what"] == "pending"
    assert set(questions(workspace)) == set(ASKED)


def test_without_samples_there_is_nothing_to_compare(new_workspace):
    with pytest.raises(WrongInput, match="no samples to compare"):
        near_duplicates(new_workspace([]), Settings())


# --- settings ---


def test_the_paper_asks_nothing_and_keeps_the_longest(workspace: Workspace):
    result = near_duplicates(workspace, PRESETS["paper"])

    assert rows_that_are(workspace, "kept") == KEPT
    assert rows_that_are(workspace, "pending") == set()
    assert {one.reason for one in rejections(workspace).values()} == {"near_duplicate"}
    assert keepers(workspace)["hash-what"] == "hash", "the responses are not compared"
    assert keepers(workspace)["prime-all"] == "prime", "the closer one of two"
    assert (result.report["asked"], questions(workspace)) == (0, [])


def test_the_notebook_drops_above_its_lower_threshold_and_keeps_the_first(workspace: Workspace):
    near_duplicates(workspace, PRESETS["notebook"])

    assert rows_that_are(workspace, "pending") == set()
    found = keepers(workspace)
    assert {id: found.get(id) for id in ("sum", "sum-add-up", "product")} == dict.fromkeys(
        ("sum", "sum-add-up", "product"), "sum-integers"
    ), "the first of them, at 0.968, 0.798 and 0.742"
    assert {found[id] for id in ("string", "string-given", "string-program")} == {"string-short"}
    assert (found["search"], found["search-list"]) == ("search-tree", "search-tree")
    assert (found["prime-all"], found.get("prime-list")) == ("prime", None), "0.672 is below"
    assert found["tie-a"] == "tie-b", "import order, not the id"


def test_at_its_threshold_the_paper_drops_and_the_notebook_does_not(workspace: Workspace):
    near_duplicates(workspace, PRESETS["notebook"])
    exactly = rejections(workspace)["product"].evidence["cosine"]
    same = {"threshold": exactly, "keep": "first", "budget": 0}

    near_duplicates(workspace, Settings(**same, preset="notebook"))
    assert states(workspace)["product"] == "kept"
    near_duplicates(workspace, Settings(**same, preset="paper"))
    assert keepers(workspace)["product"] == "sum-integers"


def test_with_the_responses_compared_their_cosine_alone_decides(workspace: Workspace):
    near_duplicates(workspace, Settings(text="response"))

    found = keepers(workspace)
    assert found["sum-add-up"] == "sum", "0.917, although the questions are at 0.830"
    assert states(workspace)["hash-what"] == "kept"
    assert states(workspace)["search-tree"] == "kept"
    one = rejections(workspace)["sum-add-up"]
    assert one.evidence["text"] == "response"
    assert one.evidence["response_cosine"] is None


def test_with_all_texts_compared_question_and_response_are_one_text(workspace: Workspace):
    near_duplicates(workspace, Settings(text="all"))

    assert keepers(workspace)["sum-add-up"] == "sum", "0.969"
    assert states(workspace)["hash-what"] == "kept", "0.633"
    assert ("string", "string-program") in questions(workspace), "0.814"


def test_between_responses_of_one_length_the_smaller_id_stays(workspace: Workspace):
    """Whichever was imported first: tie-b was."""
    near_duplicates(workspace, Settings())
    assert keepers(workspace)["tie-b"] == "tie-a"


def test_keep_first_follows_the_position_that_clean_gave_a_row(new_workspace):
    """clean keeps the longest repeat at the place of the first one, though it was imported last."""
    question, short = ROWS["sum-integers"]
    long = f"{short}, every number of it"
    workspace = new_workspace(
        [sample("early", question, short), written("sum"), written("haiku"), sample("late", question, long)]
    )
    clean(workspace)
    near_duplicates(workspace, Settings(keep="first"))

    run, name = current(workspace), names(workspace)
    assert [name[one.seq] for one in decisions.outcomes(workspace.database, run.id)] == [
        "late",
        "sum",
        "haiku",
    ]
    assert keepers_of_run(workspace) == {"sum": "late"}


def keepers_of_run(workspace: Workspace) -> dict[str, str]:
    """Give keepers where an earlier stage dropped rows, so that not every sample entered."""
    return {
        id: one.evidence["keeper"]
        for seq, id in names(workspace).items()
        for one in decisions.rejections_of(workspace.database, current(workspace).id, seq)
    }


@pytest.mark.parametrize(
    ("budget", "asked"),
    [
        (1, [("search-tree", "search")]),
        (2, [("search-tree", "search"), ("sum", "sum-add-up")]),
        # prime-all resembles two kept rows and takes both questions or none
        (3, [("search-tree", "search"), ("sum", "sum-add-up"), ("search", "search-list")]),
        (4, [*list(ASKED)[:3], ("prime-all", "prime-list")]),
        (7, list(ASKED)[:7]),
    ],
)
def test_the_budget_goes_to_the_most_uncertain_and_the_rest_falls_to_the_paper(
    workspace: Workspace, budget: int, asked: list[tuple[str, str]]
):
    result = near_duplicates(workspace, Settings(budget=budget))

    assert questions(workspace) == asked
    waiting = PENDING & {id for pair in asked for id in pair}
    assert rows_that_are(workspace, "pending") == waiting
    assert rows_that_are(workspace, "kept") == KEPT, "what is asked never changes who stays"
    over = {id for id, one in rejections(workspace).items() if one.reason == "near_duplicate_over_budget"}
    assert over == PENDING - waiting
    assert result.report["over_budget"] == len(over)


def test_the_band_can_be_moved(workspace: Workspace):
    near_duplicates(workspace, Settings(ask_low=0.75, ask_high=0.82))

    assert ("sum", "product") in questions(workspace), "0.773 lies in the band now"
    assert ("sum", "sum-add-up") not in questions(workspace), "0.830 is beyond it, and the responses agree"
    assert keepers(workspace)["sum-add-up"] == "sum"


@pytest.mark.parametrize(
    "wrong",
    [
        {"floor": 0.9},
        {"threshold": 1.2},
        {"ask_low": 0.6},
        {"ask_low": 0.95},
        {"budget": -1},
        {"floor": -0.1},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(wrong: dict[str, float]):
    with pytest.raises(WrongInput, match="must"):
        Settings(**wrong)


# --- verdicts ---


def same_as_a_full_run(workspace: Workspace) -> None:
    """Hold what verdicts did at once against a run from the start, in a copy."""
    run = current(workspace)
    folder = workspace.folder.with_name("again")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(workspace.folder, folder, ignore=shutil.ignore_patterns("winnow.*"))
    workspace.database.copy_to(folder / "winnow.sqlite")
    copy = Workspace(folder)
    near_duplicates(copy, pair_settings.settings_of(run), again=True)

    assert states(workspace) == states(copy)
    assert {id: (one.reason, one.evidence) for id, one in rejections(workspace).items()} == {
        id: (one.reason, one.evidence) for id, one in rejections(copy).items()
    }
    unsettled = [set(questions(one, "open") + questions(one, "disputed")) for one in (workspace, copy)]
    assert unsettled[0] == unsettled[1]
    copy.database.close()


@pytest.fixture
def asked(workspace: Workspace) -> Workspace:
    """Give a workspace in which the questions wait for answers."""
    near_duplicates(workspace, Settings())
    return workspace


@pytest.mark.parametrize(
    ("verdict", "first", "second"),
    [
        ("keep-both", "kept", "kept"),
        ("keep-left", "kept", "dropped"),
        ("keep-right", "dropped", "kept"),
        ("drop-both", "dropped", "dropped"),
    ],
)
def test_a_verdict_takes_effect_at_once(asked: Workspace, verdict: str, first: str, second: str):
    before = states(asked)
    voted = vote(asked, ("hash", "hash-what"), verdict)

    assert voted.changed
    assert states(asked) == before | {"hash": first, "hash-what": second}
    assert ("hash", "hash-what") in questions(asked, "settled")
    same_as_a_full_run(asked)


def test_a_row_that_a_verdict_drops_says_so(asked: Workspace):
    vote(asked, ("hash", "hash-what"), "keep-right")
    vote(asked, ("search-tree", "search"), "drop-both")

    lost, both = rejections(asked)["hash"], rejections(asked)["search"]
    assert (lost.reason, lost.evidence["verdict"], lost.evidence["keeper"]) == (
        "verdict",
        "keep-right",
        "hash-what",
    )
    assert (both.reason, both.evidence["keeper"], both.evidence["other"]) == ("verdict", None, "search-tree")
    assert reference(asked, "hash", "hash-what").startswith(lost.evidence["item"])


def test_dropping_a_keeper_lets_the_rows_it_stood_for_stay(asked: Workspace):
    """search was the keeper of search-list too, which resembles nobody else."""
    vote(asked, ("search-tree", "search"), "drop-both")

    assert states(asked)["search-list"] == "kept"
    assert ("search", "search-list") not in questions(asked), "the question is moot"
    same_as_a_full_run(asked)


def test_the_next_in_line_takes_the_place_of_a_keeper_that_lost(asked: Workspace):
    """string-given was dropped for string. It is the longest now, and meets what string had met."""
    vote(asked, ("string-short", "string"), "keep-left")

    now = states(asked)
    assert now["string-given"] == "kept"
    assert keepers(asked)["string"] == "string-given", "string-short is not kept yet"
    assert now["string-short"] == now["string-program"] == "pending"
    assert {("string-short", "string-given"), ("string-given", "string-program")} <= set(
        questions(asked, "open")
    )
    assert ("string", "string-program") not in questions(asked)
    same_as_a_full_run(asked)

    for other in ("string-given", "string-program"):
        vote(asked, ("string-short", other), "keep-left")
        same_as_a_full_run(asked)
    losers = {id: keeper for id, keeper in keepers(asked).items() if id.startswith("string")}
    assert losers == dict.fromkeys(("string", "string-given", "string-program"), "string-short")


def test_one_answer_of_two_does_not_settle_a_row(asked: Workspace):
    vote(asked, ("prime", "prime-all"), "keep-both")
    assert states(asked)["prime-all"] == "pending"
    vote(asked, ("prime-all", "prime-list"), "keep-both")
    assert states(asked)["prime-all"] == "kept"
    same_as_a_full_run(asked)


def test_undo_opens_the_question_again_as_a_new_version(asked: Workspace):
    before, item = states(asked), reference(asked, "hash", "hash-what")
    vote(asked, ("hash", "hash-what"), "keep-right")
    undone = review.undo(asked)

    assert states(asked) == before
    assert ("hash", "hash-what") in questions(asked, "open")
    assert undone.item == reference(asked, "hash", "hash-what") == item.replace("@1", "@2")
    same_as_a_full_run(asked)


def test_undo_after_another_run_names_the_version_it_made(asked: Workspace):
    vote(asked, ("hash", "hash-what"), "keep-right")
    near_duplicates(asked, Settings(), again=True)
    assert ("hash", "hash-what") not in questions(asked), "settled questions are not asked again"
    undone = review.undo(asked)

    assert undone.item == reference(asked, "hash", "hash-what")
    assert states(asked)["hash-what"] == "pending"


def test_the_newest_vote_is_taken_back_first_and_then_the_one_before(asked: Workspace):
    before = states(asked)
    vote(asked, ("hash", "hash-what"), "keep-both")
    vote(asked, ("sum", "sum-add-up"), "drop-both")

    assert "drop-both" in review.undo(asked).message
    assert states(asked) == before | {"hash-what": "kept"}
    assert "keep-both" in review.undo(asked).message
    assert states(asked) == before
    with pytest.raises(WrongInput, match="no vote to take back"):
        review.undo(asked)


def test_an_outdated_version_is_refused_and_the_current_one_named(asked: Workspace):
    item = reference(asked, "hash", "hash-what")
    vote(asked, ("hash", "hash-what"), "keep-both")
    review.undo(asked)

    with pytest.raises(WrongInput, match=f"{item} is out of date.*{item.replace('@1', '@2')}"):
        review.vote(asked, item, "keep-left", "other")
    assert states(asked)["hash-what"] == "pending"


@pytest.mark.parametrize("reference", ["nothing@1", "no version", "x@", "@1", "x@y"])
def test_a_vote_on_nothing_is_refused(asked: Workspace, reference: str):
    with pytest.raises(WrongInput, match="review list"):
        review.vote(asked, reference, "keep-both")


def test_a_verdict_of_another_kind_is_refused(asked: Workspace):
    with pytest.raises(WrongInput, match="choose one of keep-both, keep-left, keep-right, drop-both"):
        vote(asked, ("hash", "hash-what"), "duplicate:drop")


def votes(workspace: Workspace) -> list[Any]:
    with workspace.database.reading() as connection:
        return reviews.votes(connection)


@pytest.mark.parametrize("again", ["keep-right", "keep-both"])
def test_pressing_again_changes_nothing(asked: Workspace, again: str):
    item = reference(asked, "hash", "hash-what")
    review.vote(asked, item, "keep-right")
    before = states(asked)
    pressed = review.vote(asked, item, again)

    assert not pressed.changed
    assert "decided" in pressed.message and "keep-right" in pressed.message
    assert len(votes(asked)) == 1
    assert states(asked) == before


def test_people_who_disagree_open_the_question_again(asked: Workspace):
    before, pair = states(asked), ("hash", "hash-what")
    vote(asked, pair, "keep-right", "ann")
    assert states(asked)["hash"] == "dropped"
    vote(asked, pair, "keep-both", "bob")

    assert questions(asked, "disputed") == [pair]
    assert states(asked) == before, "nothing is settled"
    wanted = {"open": 0, "settled": 0, "disputed": 1, "several": 1, "agreement": 0.0}
    assert review.counts(asked) | {"open": 0} == wanted
    same_as_a_full_run(asked)

    review.undo(asked, "bob")
    assert states(asked)["hash"] == "dropped", "ann's verdict stands alone again"
    same_as_a_full_run(asked)


def test_people_who_agree_settle_it_and_one_may_take_it_back(asked: Workspace):
    pair = ("hash", "hash-what")
    for person in ("ann", "bob"):
        vote(asked, pair, "keep-both", person)
    assert review.counts(asked)["agreement"] == 1.0

    review.undo(asked, "ann")
    assert states(asked)["hash-what"] == "kept"
    review.undo(asked, "bob")
    assert states(asked)["hash-what"] == "pending"


def test_verdicts_in_a_circle_leave_one_row_and_lose_none(new_workspace):
    """string over string-short over string-program over string, with everything asked."""
    workspace = new_workspace(["string", "string-short", "string-program"])
    near_duplicates(workspace, Settings())
    vote(workspace, ("string", "string-short"), "keep-left")
    states(workspace)
    vote(workspace, ("string", "string-program"), "keep-right")
    if ("string-short", "string-program") in questions(workspace):
        vote(workspace, ("string-short", "string-program"), "keep-left")
    assert "kept" in states(workspace).values()
    same_as_a_full_run(workspace)


def test_a_circle_of_verdicts_asks_again_under_a_new_version_and_can_be_settled(new_workspace):
    """Else whoever closed the circle is told for ever that the case was decided already."""
    workspace = new_workspace(["string", "string-short", "string-program"])
    near_duplicates(workspace, Settings())
    over = {("string", "string-short"), ("string-short", "string-program"), ("string-program", "string")}
    closed = None
    for _ in range(9):
        waiting = review.items(workspace, "open")
        if not waiting:
            break
        one = waiting[0]
        pair = (one["left"]["id"], one["right"]["id"])
        version = one["item"].partition("@")[2]
        if int(version) > 1:
            closed = one
            break
        review.vote(workspace, one["item"], "keep-left" if pair in over else "keep-right", "ann")
    assert closed is not None, "the three verdicts made a circle, and one of them is asked again"
    assert "circle" in closed["evidence"]["why"]
    assert closed["votes"] != {}, "it shows what was said before"

    voted = review.vote(workspace, closed["item"], "keep-both", "ann")
    assert voted.changed
    assert review.items(workspace, "open") == []
    same_as_a_full_run(workspace)


@pytest.mark.parametrize("random_seed", range(5))
def test_any_votes_in_any_order_come_to_what_a_full_run_gives(asked: Workspace, random_seed: int):
    chance = random.Random(random_seed)
    for turn in range(12):
        person = chance.choice(["ann", "bob"])
        dropped = sorted(id for id, one in rejections(asked).items() if one.reason != "verdict")
        if chance.random() < 0.15 and dropped:
            review.rescue(asked, chance.choice(dropped), person)
        elif chance.random() < 0.2 and any(v.person == person for v in votes(asked) if v.verdict != "undo"):
            try:
                review.undo(asked, person)
            except WrongInput as error:
                assert "no vote" in str(error)
        else:
            one = chance.choice(review.items(asked))
            review.vote(asked, one["item"], chance.choice(one["verdicts"]), person)
        states(asked)
        if turn % 4 == 3:
            same_as_a_full_run(asked)


def test_a_vote_cast_while_a_run_decides_counts(asked: Workspace, monkeypatch: pytest.MonkeyPatch):
    assert states(asked)["hash-what"] == "pending"
    decide, voted = pair_case.Case.decide, []

    def voting(case: pair_case.Case, *given: object, **more: object) -> object:
        if not voted:
            voted.append(True)
            vote(asked, ("hash", "hash-what"), "keep-both")
        return decide(case, *given, **more)

    monkeypatch.setattr(pair_case.Case, "decide", voting)
    near_duplicates(asked, Settings(), again=True)
    assert states(asked)["hash-what"] == "kept"
    same_as_a_full_run(asked)


@pytest.mark.parametrize("harm", ["lost", "cut short", "empty"])
def test_a_run_that_lost_its_pairs_refuses_votes_until_it_runs_again(asked: Workspace, harm: str):
    before, file = states(asked), edges_file(asked, current(asked).id)
    whole = file.read_bytes()
    file.unlink()
    if harm != "lost":
        file.write_bytes(whole[: len(whole) - 3] if harm == "cut short" else b"")

    with pytest.raises(DamagedWorkspace, match="run `near-duplicates` again"):
        vote(asked, ("hash", "hash-what"), "keep-both")
    assert votes(asked) == [] and states(asked) == before, "the vote was not half cast"

    assert not near_duplicates(asked, Settings()).unchanged
    vote(asked, ("hash", "hash-what"), "keep-both")
    assert states(asked) == before | {"hash-what": "kept"}


# --- memory ---


def carry_votes(source: Workspace, target: Workspace) -> dict[str, int]:
    file = source.folder / "votes.jsonl"
    review.export_votes(source, file)
    return review.import_votes(target, file)


def test_what_was_settled_elsewhere_is_not_asked_again(asked: Workspace, new_workspace):
    vote(asked, ("hash", "hash-what"), "keep-both")
    vote(asked, ("sum", "sum-add-up"), "keep-right")
    vote(asked, ("search-tree", "search"), "drop-both")
    vote(asked, ("prime", "prime-all"), "keep-left")
    review.undo(asked)
    elsewhere = new_workspace(name="elsewhere")
    assert carry_votes(asked, elsewhere) == {"votes": 5, "new": 5}
    near_duplicates(elsewhere, Settings())

    assert states(elsewhere) == states(asked)
    assert set(questions(elsewhere)) == set(questions(asked, "open"))
    assert carry_votes(asked, elsewhere) == {"votes": 5, "new": 0}


def test_imported_votes_take_effect_on_a_run_that_is_there(asked: Workspace, new_workspace):
    elsewhere = new_workspace(name="elsewhere")
    near_duplicates(elsewhere, Settings())
    vote(asked, ("hash", "hash-what"), "keep-right")
    vote(asked, ("search-tree", "search"), "drop-both")
    carry_votes(asked, elsewhere)

    assert states(elsewhere) == states(asked)
    same_as_a_full_run(elsewhere)


def test_an_imported_verdict_on_a_pair_that_was_not_asked_here_counts_too(asked: Workspace, new_workspace):
    """Here the budget went to another question, so the row was dropped: a person says it may stay."""
    elsewhere = new_workspace(name="elsewhere")
    near_duplicates(elsewhere, Settings(budget=1))
    assert states(elsewhere)["hash-what"] == "dropped"
    vote(asked, ("hash", "hash-what"), "keep-both")
    carry_votes(asked, elsewhere)

    assert states(elsewhere)["hash-what"] == "kept"


def test_left_is_the_row_that_was_shown_left_wherever_the_rows_stand_in_another_workspace(
    asked: Workspace, new_workspace
):
    elsewhere = new_workspace(list(reversed(ROWS)), name="elsewhere")
    near_duplicates(elsewhere, Settings())
    assert ("sum-add-up", "sum") in questions(elsewhere) and ("sum", "sum-add-up") in questions(asked)
    vote(asked, ("sum", "sum-add-up"), "keep-right")
    vote(asked, ("hash", "hash-what"), "keep-left")
    carry_votes(asked, elsewhere)

    now = states(elsewhere)
    assert (now["sum"], now["sum-add-up"]) == ("dropped", "kept")
    assert (now["hash"], now["hash-what"]) == ("kept", "dropped")


@pytest.mark.parametrize("pair", ASKED)
@pytest.mark.parametrize(("verdict", "place"), [("keep-left", 0), ("keep-right", 1)])
def test_the_row_that_review_list_shows_left_is_the_one_that_keep_left_keeps(
    asked: Workspace, pair: tuple[str, str], verdict: str, place: int
):
    """Whichever of the two contents has the smaller hash."""
    (shown,) = [one for one in review.items(asked) if (one["left"]["id"], one["right"]["id"]) == pair]
    review.vote(asked, shown["item"], verdict)

    now, winner, loser = states(asked), pair[place], pair[1 - place]
    assert now[winner] != "dropped"
    if now[winner] == "kept":
        assert now[loser] == "dropped"
    else:
        assert any(winner in other for other in questions(asked, "open")), "it waits for another answer"


def test_people_who_chose_the_same_row_agree_though_one_saw_it_left_and_one_right(
    asked: Workspace, new_workspace
):
    elsewhere = new_workspace(list(reversed(ROWS)), name="elsewhere")
    near_duplicates(elsewhere, Settings())
    vote(asked, ("sum", "sum-add-up"), "keep-right", "ann")
    vote(elsewhere, ("sum-add-up", "sum"), "keep-left", "bob")
    carry_votes(elsewhere, asked)

    assert questions(asked, "disputed") == []
    assert states(asked)["sum-add-up"] == "kept"


def test_people_who_chose_different_rows_disagree_though_both_said_left(asked: Workspace, new_workspace):
    elsewhere = new_workspace(list(reversed(ROWS)), name="elsewhere")
    near_duplicates(elsewhere, Settings())
    vote(asked, ("sum", "sum-add-up"), "keep-left", "ann")
    vote(elsewhere, ("sum-add-up", "sum"), "keep-left", "bob")
    carry_votes(elsewhere, asked)

    assert questions(asked, "disputed") == [("sum", "sum-add-up")]
    assert states(asked)["sum-add-up"] == "pending"


def test_a_question_whose_sides_changed_places_is_another_version(new_workspace):
    """A verdict on what was shown earlier would drop the wrong row."""
    question, response = ROWS["sum-add-up"]
    workspace = new_workspace(
        [sample("b", question, response), written("sum"), sample("a", question, response)]
    )
    near_duplicates(workspace, Settings())
    shown = reference(workspace, "sum", "a")
    assert questions(workspace) == [("sum", "a")], "the smaller of two equal rows stands for both"
    clean(workspace)
    near_duplicates(workspace, Settings())
    assert questions(workspace) == [("b", "sum")]

    with pytest.raises(WrongInput, match="out of date"):
        review.vote(workspace, shown, "keep-left")


def test_a_verdict_on_one_of_several_equal_rows_counts_for_all(new_workspace):
    question, response = ROWS["sum-add-up"]
    workspace = new_workspace(
        [sample("b", question, response), written("sum"), sample("a", question, response)]
    )
    near_duplicates(workspace, Settings())
    vote(workspace, ("sum", "a"), "keep-left")

    assert states(workspace) == {"a": "dropped", "b": "dropped", "sum": "kept"}
    same_as_a_full_run(workspace)


def test_a_response_with_a_zero_byte_has_its_whole_length(new_workspace):
    """The database counts characters up to a zero byte; the longest response must stay the longest."""
    question, response = ROWS["sum-add-up"]
    workspace = new_workspace([written("sum"), sample("zero", question, "\0" + response * 10)])
    near_duplicates(workspace, Settings())
    assert rows_that_are(workspace, "kept") == {"zero"}
    vote(workspace, ("sum", "zero"), "keep-both")
    review.undo(workspace)

    assert rows_that_are(workspace, "kept") == {"zero"}


def exported(workspace: Workspace) -> list[dict[str, Any]]:
    file = workspace.folder / "votes.jsonl"
    review.export_votes(workspace, file)
    return [json.loads(line) for line in file.read_text().split("\n") if line]


def test_a_note_with_odd_line_ends_survives_export_and_import(asked: Workspace, new_workspace):
    note = "one\u2028two\x85three\nfour"
    review.vote(asked, reference(asked, "hash", "hash-what"), "keep-both", note=note)
    elsewhere = new_workspace(name="elsewhere")
    carry_votes(asked, elsewhere)

    assert [one.note for one in votes(elsewhere)] == [note]


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "keep-neither"},
        {"verdict": "duplicate:drop"},
        {"verdict": None},
        {"kind": "clean"},
        {"subject": "text"},
        {"subject": {"left": "x"}},
        {"person": None},
        {"item_version": "one"},
        {"client_id": None},
    ],
    ids=str,
)
def test_a_vote_that_is_none_is_refused_with_its_line_and_nothing_is_imported(
    asked: Workspace, wrong: dict[str, Any]
):
    vote(asked, ("hash", "hash-what"), "keep-both")
    (line,) = exported(asked)
    file = asked.folder / "bad.jsonl"
    good = json.dumps(line | {"client_id": "another"})
    file.write_text(f"{good}\n\n{json.dumps(line | {'client_id': 'third'} | wrong)}\n")

    with pytest.raises(WrongInput, match="line 3 is not a vote"):
        review.import_votes(asked, file)
    assert len(votes(asked)) == 1


def test_a_row_that_waits_for_people_has_a_question_they_can_answer(new_workspace):
    """string over string-short over string-program over string: the third is pending, its pair settled."""
    workspace = new_workspace(["string", "string-short", "string-program"])
    near_duplicates(workspace, Settings())
    vote(workspace, ("string", "string-short"), "keep-left")
    vote(workspace, ("string", "string-program"), "keep-right")
    vote(workspace, ("string-short", "string-program"), "keep-left")

    unsettled = questions(workspace, "open") + questions(workspace, "disputed")
    for waiting in rows_that_are(workspace, "pending"):
        assert any(waiting in pair for pair in unsettled), f"nobody is asked about {waiting}"
