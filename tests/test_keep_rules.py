"""Who stays of look-alikes under each rule, on rows whose questions are equal; and what each source lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation import near_duplicates as step
from curation import pair_redecide, pair_settings, review
from curation.cli import main
from curation.errors import SourceUnavailable, WrongInput
from curation.near_duplicates import near_duplicates
from curation.pair_settings import PRESETS, Settings, settings_from
from curation.records import Sample
from curation.store import judgements, samples
from curation.store.database import Database
from curation.workspace import Workspace
from tests.test_near_duplicates import keepers, names, rejections, same_as_a_full_run, states

pytestmark = pytest.mark.usefixtures("one_model")

SAME = "Write a Python function that returns the sum of a list of numbers."
OTHER = "Explain how a hash table finds the bucket of a key."
# In import order: id -> source, set, licence, response. Under the default the longest, `long`, stays.
ROWS = {
    "long": (
        "a.json",
        "first set",
        "unknown",
        "def total(numbers):\n    return sum(numbers)  # every number",
    ),
    "good": ("b.json", "second set", "MIT", "def total(numbers):\n    return sum(numbers)"),
    "odd": ("c.json", "third set", "CC-BY-NC-4.0", "def total(numbers):\n    return sum(numbers) # all"),
}
SURE = Settings(budget=0, ask_high=0.8)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    add(
        made,
        [row(id) for id in ROWS] + [row("apart", OTHER, ("a.json", "first set", "MIT", "It hashes it."))],
    )
    return made


def row(id: str, instruction: str = SAME, facts: tuple[str, str, str, str] | None = None) -> Sample:
    source, name, licence, response = facts or ROWS[id]
    return Sample(id, instruction, "", response, source, None, name, licence, "imported")


def add(workspace: Workspace, rows: list[Sample]) -> None:
    with workspace.database.transaction() as connection:
        samples.add(connection, rows)


def judged(db: Database, scores: dict[str, int]) -> None:
    """Write judgements as the judge's own step does, without its calls."""
    place = {row.id: row.seq for row in samples.stream(db, ("id",))}
    with db.transaction() as connection:
        newest = judgements.newest_id(connection) or 0
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        judgements.add(connection, [
            {"seq": place[id], "call_id": newest + number, "model": "m", "prompt_hash": "p", "score": score,
             "difficulty": 1, "reason": "as told"}
            for number, (id, score) in enumerate(scores.items(), start=1)
        ])  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "keeper", "standing"),
    [
        (replace(SURE), "long", None),
        (replace(SURE, keep="first"), "long", None),
        (replace(SURE, keep="source", sources=("c.json", "b.json")), "odd", ["a.json", "c.json"]),
        (replace(SURE, keep="source", sources=("second set",)), "good", ["a.json", "b.json"]),
        (replace(SURE, keep="licence"), "good", ["unknown", "MIT (allowed)"]),
    ],
)
def test_a_rule_says_who_stays_and_the_evidence_what_it_went_by(
    workspace: Workspace, rule: Settings, keeper: str, standing: list[str] | None
) -> None:
    near_duplicates(workspace, rule)
    assert states(workspace)["apart"] == "kept"
    assert keepers(workspace) == {id: keeper for id in ROWS if id != keeper}
    loser = "long" if keeper != "long" else "good"
    evidence = rejections(workspace)[loser].evidence
    assert evidence["rule"] == f"keep {rule.keep}"
    assert evidence.get("standing") == standing


def test_without_an_allowed_licence_a_named_one_stays_before_an_unknown_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    add(workspace, [row("long"), row("odd")])
    near_duplicates(workspace, replace(SURE, keep="licence"))
    assert keepers(workspace) == {"long": "odd"}
    assert rejections(workspace)["long"].evidence["standing"] == ["unknown", "CC-BY-NC-4.0 (not on the list)"]


def test_ties_go_to_the_longest_response_and_then_to_the_smaller_id(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    facts = ROWS["good"]
    longer = (*facts[:3], facts[3] + " #")
    add(workspace, [row("zz", facts=facts), row("aa", facts=facts), row("longer", facts=longer), row("long")])
    near_duplicates(workspace, replace(SURE, keep="source", sources=("b.json",)))
    assert keepers(workspace) == {"zz": "longer", "aa": "longer", "long": "longer"}


def test_the_judge_s_score_decides_and_a_later_score_only_in_a_later_run(workspace: Workspace) -> None:
    judged(workspace.database, {"good": 3, "odd": 4})
    rule = replace(SURE, keep="judge")
    first = near_duplicates(workspace, rule)
    assert keepers(workspace) == {"long": "odd", "good": "odd"}
    assert rejections(workspace)["long"].evidence["standing"] == ["not judged", "4"]
    assert rejections(workspace)["good"].evidence["standing"] == ["3", "4"]
    assert near_duplicates(workspace, rule).unchanged

    judged(workspace.database, {"good": 5})
    ids = {id: seq for seq, id in names(workspace).items()}
    with workspace.database.transaction() as connection:  # what a vote on these rows does
        pair_redecide.redecide(connection, workspace, [ids["good"]])
    assert keepers(workspace) == {"long": "odd", "good": "odd"}
    second = near_duplicates(workspace, rule)
    assert second.run_id != first.run_id
    assert keepers(workspace) == {"long": "good", "odd": "good"}


@pytest.mark.parametrize(
    "rule",
    [
        Settings(ask_high=1.0, keep="licence"),
        Settings(ask_high=1.0, keep="source", sources=("c.json",)),
        Settings(ask_high=1.0, keep="judge"),
    ],
)
def test_votes_come_to_what_a_full_run_gives(workspace: Workspace, rule: Settings) -> None:
    add(
        workspace,
        [row("sum-of", "Write a Python function to return the sum of a list of numbers", ROWS["good"])],
    )
    judged(workspace.database, {"odd": 5, "sum-of": 2})
    near_duplicates(workspace, rule)
    asked = review.items(workspace, "open")
    assert asked
    review.vote(workspace, asked[0]["item"], "keep-left", "me")
    same_as_a_full_run(workspace)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"keep": "source"}, "--keep source needs --sources"),
        (
            {"keep": "source", "sources": ["a.json", "nowhere.json"]},
            "'nowhere.json', which no row comes from",
        ),
        ({"keep": "source", "sources": ["a.json", "a.json"]}, "names a source twice"),
        ({"sources": ["a.json"]}, "read by --keep source only"),
        ({"keep": "judge"}, "no row was judged yet; run `judge` first"),
        ({"keep": "best"}, "must be one of longest, first, source, licence, judge"),
        ({"preset": "paper", "keep": "licence"}, "leave them out"),
        ({"preset": "papers"}, "There is no preset 'papers'"),
    ],
)
def test_a_rule_that_cannot_decide_is_refused(workspace: Workspace, given: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongInput, match=told):
        near_duplicates(workspace, settings_from(given))


def test_more_pairs_than_a_run_can_number_are_told_before_anything_is_decided(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(step, "MOST_PAIRS", 2)
        with pytest.raises(WrongInput, match=r"3 pairs are more than .* \(2\); give a higher --floor"):
            near_duplicates(workspace, SURE)
    near_duplicates(workspace, SURE)
    assert states(workspace)["long"] == "kept"


def test_pairs_that_the_disk_has_no_room_for_are_told_before_anything_is_decided(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(step, "BYTES_A_PAIR", 1 << 60)
        with pytest.raises(SourceUnavailable, match=r"Deciding on 3 pairs needs .* GB free"):
            near_duplicates(workspace, SURE)
    near_duplicates(workspace, SURE)
    assert states(workspace)["long"] == "kept"


def test_a_floor_that_is_not_given_follows_what_is_looked_at() -> None:
    assert settings_from({"threshold": 0.6}).floor == 0.6
    assert settings_from({"ask_low": 0.65, "ask_high": 0.9}).floor == 0.65
    assert settings_from({"threshold": 0.9, "keep": None}).floor == 0.7
    assert settings_from({"preset": "notebook"}) == PRESETS["notebook"]


def test_what_each_source_lost_is_told_and_a_source_that_lost_half_is_an_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], counted_rows: Callable[[str, int, str], list[Sample]]
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    add(
        workspace,
        [*counted_rows("copied.json", 24, SAME), *counted_rows("few.json", 4, SAME), row("good", OTHER)],
    )
    report = near_duplicates(workspace, SURE).report
    assert [(s["source"], s["seen"], s["dropped"]) for s in report["by_source"]] == [
        ("b.json", 1, 0), ("copied.json", 24, 23), ("few.json", 4, 4)]  # fmt: skip
    assert sum(s["dropped"] for s in report["by_source"]) == report["dropped"]
    assert report["alarms"] == [
        "copied.json lost 23 of 24 rows (96%); read some of its pairs before you go on"
    ], "four rows are too few to say"

    rescued = next(id for id in rejections(workspace) if id.startswith("copied.json"))
    review.rescue(workspace, rescued, "me", pair_settings.STAGE)
    workspace.database.close()
    command = ["near-duplicates", "--budget", "0", "--ask", "0.8:0.8", "--workspace", str(workspace.folder)]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "copied.json lost 22 of 24 rows" in shown.err + shown.out


@pytest.fixture
def counted_rows() -> Callable[[str, int, str], list[Sample]]:
    def make(source: str, count: int, instruction: str) -> list[Sample]:
        facts = [(source, source, "MIT", "pass" * (count - n)) for n in range(count)]
        return [row(f"{source}-{n:02}", instruction, one) for n, one in enumerate(facts)]

    return make
