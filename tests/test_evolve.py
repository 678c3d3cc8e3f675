"""Evolve: rounds whose sizes are foretold, calls paid for once, branches that are cut and redone."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curation.asking import API_SEED
from curation.clean import clean
from curation.errors import WrongInput
from curation.evolution_branch import find_step, keep_anyway, prune, redo, restore
from curation.evolution_report import full_report, round_report
from curation.evolution_scores import enter_score, standing
from curation.evolution_tree import calls_of, families, told_tree, tree_of, trees
from curation.evolve import Settings, evolve, settings_of
from curation.explain import explain
from curation.generate import Settings as GenerateSettings
from curation.heuristics import chosen, heuristics, weights_in
from curation.import_samples import Settings as ImportSettings
from curation.import_samples import import_samples
from curation.prompt import shipped
from curation.records import Sample
from curation.sample_words import say
from curation.store import evolutions, sample_words, samples, seeds
from curation.store.database import Row
from curation.store.evolutions import PREVIEW, PRUNED, REDONE, StepQuery
from curation.workspace import Workspace
from jobs.steps import STEPS, check
from tests.evolving import (
    EMPTY,
    EQUAL,
    LEAKS,
    LIVES,
    MURMURS,
    RULES,
    SET,
    SORRY,
    EvolvingSet,
    EvolvingTeacher,
    by_chance,
    draw_of,
    evolving_set,
    kind_of,
    method_in,
    root_of,
)
from tests.generating import QUICK, Near
from tests.loopback_teacher import LoopbackTeacher, finished, html_page, loopback_teacher, refusal
from tests.made_up_seeds import made_up_seeds
from tests.workspaces import ROOT, SHARED, CommandLine, needs_shared

SHARES = {LEAKS: 8, EQUAL: 10, SORRY: 6, EMPTY: 4}


@pytest.fixture
def says() -> EvolvingTeacher:
    return EvolvingTeacher()


@pytest.fixture
def server(says: EvolvingTeacher) -> Iterator[LoopbackTeacher]:
    with loopback_teacher(says) as teacher:
        yield teacher


@pytest.fixture
def tasks(tmp_path: Path, server: LoopbackTeacher, says: EvolvingTeacher) -> EvolvingSet:
    return evolving_set(tmp_path / "workspace", server, says)


def kept(tasks: EvolvingSet, id: str, round: int) -> list[Row[Any]]:
    return [one for one in tasks.steps(id) if one.round == round and one.state == "kept"]


# --- rounds ---


@needs_shared
def test_sizes_of_three_rounds_are_those_that_the_survival_foretells(
    tmp_path: Path, server: LoopbackTeacher, says: EvolvingTeacher
) -> None:
    """500 rows of Code Alpaca. The teacher is told which root fails by which rule in which round."""
    says.fate = by_chance(SHARES)
    workspace = Workspace(tmp_path / "workspace")
    file = SHARED / "instructions" / "code_alpaca_2k.json.gz"
    import_samples(workspace, str(file), ImportSettings(SET, "CC-BY-NC-4.0"))
    tasks = EvolvingSet(workspace, server, says, [])
    report = tasks.evolve(limit=500, rounds=3, concurrency=16).report

    with workspace.database.reading() as connection:
        roots = samples.of_set(connection, SET)[:500]
    texts = [f"{one.instruction}\n\n{one.input}" if one.input else one.instruction for one in roots]
    size = 500
    for round, told in enumerate(report["rounds"], start=1):
        fates = Counter(says.fate(text, round, 0) for text in texts)
        size += fates[LIVES]
        assert (told["round"], told["parents"], told["evolved"], told["size"]) == (
            round, 500, fates[LIVES], size,
        )  # fmt: skip
        assert told["rejected"] == {RULES[name]: fates[name] for name in told_in_order(fates)}
    assert report["size"] == size and samples.count(workspace.database) == 2_015 + size - 500

    by_seq = {one.seq: one for one in roots}
    for step in tasks.steps(report["evolution"]):
        if step.state != "kept":
            continue
        child, parent = tasks.sample(step.child), tasks.sample(step.parent)
        assert child.extra["parent"] == parent.id and child.extra["root"] == by_seq[step.root].id
        assert child.extra["round"] == step.round and child.extra["heuristic"] == step.heuristic
        assert child.extra["prompt"] == shipped("evolve")[0].hash
        assert (child.licence, child.method, child.source) == (parent.licence, "evol-instruct", file.name)


def told_in_order(fates: Counter[str]) -> list[str]:
    return [name for name in RULES if fates[name]]


def test_a_failed_parent_goes_back_unchanged_and_is_tried_again_with_a_new_draw(
    tasks: EvolvingSet, says: EvolvingTeacher
) -> None:
    says.fate = lambda root, round, redo: EQUAL if round == 1 and "number 4 " in root else LIVES
    id = tasks.evolve(rounds=2).report["evolution"]
    unlucky = tasks.sample(5)
    assert "number 4 " in unlucky.instruction
    first, second = (one for one in tasks.steps(id) if one.root == 5)
    assert (first.state, first.rule, first.child) == ("rejected", "equal", None)
    assert (second.state, second.parent) == ("kept", 5)  # the parent as it was
    others = [one for one in tasks.steps(id) if one.round == 2 and one.root != 5]
    assert all(tasks.sample(one.parent).extra["round"] == 1 for one in others)
    asked = [one.body for one in tasks.teacher.completions if root_of(one.body) == unlucky.instruction]
    rewritings = [one for one in asked if kind_of(one) == "evolve"]
    assert [draw_of(one) for one in rewritings] == [(1, 0), (2, 0)]
    assert rewritings[0]["messages"] != rewritings[1]["messages"]


def test_each_call_is_asked_as_published_and_nothing_is_asked_in_vain(
    tasks: EvolvingSet, says: EvolvingTeacher
) -> None:
    fates = {0: LEAKS, 1: EQUAL, 2: SORRY, 3: EMPTY}
    says.fate = lambda root, round, redo: next(
        (name for at, name in fates.items() if f"number {at} " in root), LIVES
    )
    report = tasks.evolve().report
    assert tasks.calls() == {"evolve": 12, "equality": 11, "evolve-answer": 10}
    assert report["rounds"][0]["rejected"] == {
        "prompt_leak": 1, "equal": 1, "sorry": 1, "empty_answer": 1,
    }  # fmt: skip
    assert report["calls"] == 33 and report["tokens"] == tasks.teacher.billed
    for one in tasks.teacher.completions:
        body = one.body
        wanted = {
            "evolve": (1.0, 0.9, 2_048),
            "equality": (0.0, None, 500),
            "evolve-answer": (1.0, 0.9, 2_048),
        }
        kind = kind_of(body)
        assert (body["temperature"], body.get("top_p"), body["max_tokens"]) == wanted[kind]
        assert body["seed"] == API_SEED + 1
        if kind == "evolve":
            assert heuristics()[method_in(body)].family == "code"


def test_evidence_and_replies_of_eliminated_steps_are_there(
    tasks: EvolvingSet, says: EvolvingTeacher
) -> None:
    says.fate = lambda root, round, redo: LEAKS if "number 0 " in root else SORRY
    id = tasks.evolve().report["evolution"]
    leaked, sorry, *_ = tasks.steps(id)
    assert leaked.evidence["found"] == "#Rewritten Prompt#" and leaked.task.startswith("#Rewritten Prompt#")
    assert [one.phase for one in calls_of(tasks.workspace, leaked)] == ["evolve"]
    assert sorry.evidence["words"] == 8 and sorry.evidence["found"] == "sorry"
    told = calls_of(tasks.workspace, sorry)
    assert [(one.phase, one.said) for one in told[1:]] == [
        ("equality", "Not Equal"), ("evolve-answer", "I'm sorry, but I can't solve this one."),
    ]  # fmt: skip
    assert all(one.tokens_in and one.tokens_out and one.prompt_name for one in told)


def test_heuristics_are_drawn_by_the_seed_and_can_be_chosen(tasks: EvolvingSet) -> None:
    id = tasks.evolve().report["evolution"]
    weights = weights_in("")
    for step in tasks.steps(id):
        assert step.heuristic == chosen(weights, 976, tasks.sample(step.root).id, "1.0")
    other = tasks.evolve(heuristics="breadth,deepen", name="wide").report["evolution"]
    assert other != id and {one.heuristic for one in tasks.steps(other)} == {"breadth", "deepen"}
    asked = [one.body for one in tasks.teacher.completions if kind_of(one.body) == "evolve"]
    assert Counter(method_in(body) for body in asked) == Counter(
        one.heuristic for one in (*tasks.steps(id), *tasks.steps(other))
    )


def test_without_equality_a_step_takes_two_calls(tasks: EvolvingSet, says: EvolvingTeacher) -> None:
    says.fate = lambda root, round, redo: EQUAL
    report = tasks.evolve(compares=False).report
    assert tasks.calls() == {"evolve": 12, "evolve-answer": 12} and report["rounds"][0]["evolved"] == 12


def test_a_verdict_that_cannot_be_read_is_asked_for_once_more(
    tasks: EvolvingSet, says: EvolvingTeacher
) -> None:
    def murmurs(body: dict[str, Any]) -> str:
        if kind_of(body) != "equality":
            return says(body)
        return "Not Equal" if len(body["messages"]) > 2 and "number 1 " in root_of(body) else "Hard to say."

    tasks.teacher.reply = murmurs
    report = tasks.evolve(limit=2).report
    assert report["rounds"][0]["rejected"] == {"unread_verdict": 1} and report["rounds"][0]["evolved"] == 1
    assert tasks.calls()["equality"] == 4
    (unread,) = [one for one in tasks.steps(report["evolution"]) if one.state == "rejected"]
    assert unread.evidence["said"] == "Hard to say." and "in vain" in unread.evidence["repair"]
    assert report["tokens"] == tasks.teacher.billed  # of what was asked twice, too


def test_replies_that_did_not_end_well_are_no_tasks_and_no_answers(tasks: EvolvingSet) -> None:
    tasks.teacher.faults = [finished("length"), refusal("No."), finished("content_filter")]
    report = tasks.evolve(limit=4, concurrency=1).report
    assert report["rounds"][0]["rejected"] == {"cut_off": 1, "refusal": 1, "content_filter": 1}
    assert report["rounds"][0]["evolved"] == 1


# --- nothing is asked twice ---


def test_running_again_asks_nothing_and_more_rounds_or_samples_go_on(tasks: EvolvingSet) -> None:
    first = tasks.evolve(limit=6, rounds=1)
    assert not first.unchanged and tasks.teacher.hits == 18
    again = tasks.evolve(limit=6, rounds=1)
    assert again.unchanged and again.report["calls"] == 0 and tasks.teacher.hits == 18
    more = tasks.evolve(limit=6, rounds=2).report
    assert [one["parents"] for one in more["rounds"]] == [6, 6] and tasks.teacher.hits == 36
    wider = tasks.evolve(limit=12, rounds=2).report
    assert [one["parents"] for one in wider["rounds"]] == [12, 12] and tasks.teacher.hits == 72
    assert wider["evolution"] == first.report["evolution"] and wider["size"] == 36


def test_a_budget_holds_for_all_three_calls_and_the_run_goes_on(tasks: EvolvingSet) -> None:
    whole = 4_000
    paused = tasks.evolve(budget_tokens=whole, max_tokens=100).report
    assert paused["paused"] and paused["tokens"] <= whole and paused["rounds"][0]["waiting"]
    assert evolutions.find(tasks.workspace.database, paused["evolution"]).paused  # type: ignore[union-attr]
    done = tasks.evolve(max_tokens=100).report
    assert done["evolution"] == paused["evolution"] and done["paused"] is None
    assert done["rounds"][0]["evolved"] == 12 and done["tokens"] == tasks.teacher.billed
    assert set(Counter(json.dumps(one.body) for one in tasks.teacher.completions).values()) == {1}


def test_a_round_begins_when_the_one_before_is_decided(tasks: EvolvingSet) -> None:
    report = tasks.evolve(rounds=3, budget_tokens=9_000, max_tokens=100).report
    assert report["paused"]
    waiting = [one["waiting"] for one in report["rounds"]]
    assert all(waiting[at] == 0 for at in range(len(waiting) - 1)) and waiting[-1]


def test_calls_that_fail_leave_the_parent_and_can_be_asked_again(tasks: EvolvingSet) -> None:
    tasks.teacher.faults = [html_page(), None, None, html_page()]
    report = tasks.evolve(limit=3, concurrency=1).report
    failed = report["rounds"][0]["failed"]
    assert failed == {"bad_response": 2} and report["rounds"][0]["evolved"] == 1
    assert {one.phase for one in tasks.steps(report["evolution"]) if one.state == "failed"} == {
        "rewrite", "compare",
    }  # fmt: skip
    assert tasks.evolve(limit=3).report["rounds"][0]["failed"] == failed  # not by itself
    done = tasks.evolve(limit=3, retry_failed=True).report
    assert done["rounds"][0]["failed"] == {} and done["rounds"][0]["evolved"] == 3


def test_a_preview_shows_each_heuristic_and_a_round_takes_its_reply(tasks: EvolvingSet) -> None:
    shown = tasks.evolving(PREVIEW, ids=tuple(tasks.ids[:2])).run()
    steps = tasks.steps(shown.report["evolution"])
    assert Counter(one.heuristic for one in steps) == dict.fromkeys(weights_in(""), 2)
    assert all(one.state == "kept" and one.task and one.child is None for one in steps)
    assert tasks.calls() == {"evolve": 10} and samples.count(tasks.workspace.database) == 12
    id = tasks.evolve(limit=2).report["evolution"]
    assert tasks.calls() == {"evolve": 10, "equality": 2, "evolve-answer": 2}
    for step in tasks.steps(id):
        assert step.task in [one.task for one in steps if one.root == step.root]
    assert [one.id for one in evolutions.all_of(tasks.workspace.database, evolutions.EVOLVED)] == [id]


def test_batches_come_to_the_same_trees(tasks: EvolvingSet, says: EvolvingTeacher) -> None:
    says.fate = by_chance({**SHARES, MURMURS: 10})
    batched = tasks.evolve(rounds=2, mode="batch", poll=0.01).report
    assert not tasks.teacher.completions and len(tasks.teacher.batches.made) >= 6
    fates = [says.fate(text, round, 0) for round in (1, 2) for text in tasks.texts()]
    assert sum(one["evolved"] for one in batched["rounds"]) == sum(fate in (LIVES, MURMURS) for fate in fates)
    now = tasks.evolve(rounds=2).report
    assert (
        now["rounds"] == batched["rounds"] and not tasks.teacher.completions
    )  # the same calls: all are there


def test_two_processes_ask_everything_once(tasks: EvolvingSet) -> None:
    tasks.teacher.delay = 0.05
    asked = ["evolve", "--from", SET, "--rounds", "2", "--model", "loopback", "--base-url"]
    words = [*asked, tasks.teacher.base_url, "--workspace", str(tasks.workspace.folder), "--json"]
    both = [subprocess.Popen([sys.executable, "-m", "curation", *words], cwd=ROOT, stdout=subprocess.PIPE)
            for _ in range(2)]  # fmt: skip
    told = [json.loads(one.communicate(timeout=120)[0].splitlines()[-1]) for one in both]
    assert [one.returncode for one in both] == [0, 0] and told[0]["rounds"] == told[1]["rounds"]
    assert told[0]["size"] == 36 and tasks.teacher.hits == 72
    assert set(Counter(json.dumps(one.body) for one in tasks.teacher.completions).values()) == {1}


def test_two_equal_tasks_have_a_child_each(tasks: EvolvingSet) -> None:
    with tasks.workspace.database.transaction() as connection:
        twins = [Sample(id=f"twin{at}", instruction="Sort a list number 99 twice.", input="",
                                response="sorted", source="s", row=None, name="twins", licence="MIT",
                                method="imported") for at in range(2)]  # fmt: skip
        samples.add(connection, twins)
    report = tasks.evolve(parents="twins").report
    children = {one.child for one in tasks.steps(report["evolution"])}
    assert report["rounds"][0]["evolved"] == 2 and len(children) == 2


def test_dropped_and_rejected_samples_are_not_evolved(tasks: EvolvingSet) -> None:
    say(tasks.workspace, tasks.ids[0], "reject")
    id = tasks.evolve(rounds=1).report["evolution"]
    assert 1 not in {one.root for one in tasks.steps(id)}
    child = kept(tasks, id, 1)[0]
    say(tasks.workspace, tasks.sample(child.child).id, "reject")
    tasks.evolve(rounds=2)
    (second,) = [one for one in tasks.steps(id) if one.root == child.root and one.round == 2]
    assert second.parent == child.root  # what a person rejects is not grown from


# --- branches ---


@pytest.fixture
def grown(tasks: EvolvingSet) -> tuple[EvolvingSet, str]:
    """Three rounds of everything."""
    return tasks, tasks.evolve(rounds=3).report["evolution"]


def line_of(tasks: EvolvingSet, id: str, root: int) -> list[Row[Any]]:
    return [one for one in tasks.steps(id) if one.root == root]


def test_pruning_takes_a_branch_out_and_restoring_puts_it_back(grown: tuple[EvolvingSet, str]) -> None:
    tasks, id = grown
    first, second, third = line_of(tasks, id, 3)
    done = prune(tasks.workspace, second.id, "ann")
    assert done.changed and not prune(tasks.workspace, second.id).changed
    assert [one.cut for one in line_of(tasks, id, 3)] == [None, PRUNED, PRUNED]
    told = {one["round"]: one for one in tasks.evolve(rounds=3).report["rounds"]}
    assert [told[round]["pruned"] for round in (1, 2, 3)] == [0, 1, 1] and told[3]["size"] == 46
    with tasks.workspace.database.reading() as connection:
        rejected = sample_words.rejected(connection)
    assert set(rejected) == {second.child, third.child} and rejected[second.child].person == "ann"
    assert clean(tasks.workspace).report["dropped"] == {"rejected_by_person": 2}

    tasks.evolve(rounds=4)
    fourth = line_of(tasks, id, 3)[-1]
    assert (fourth.round, fourth.parent) == (4, first.child)
    assert restore(tasks.workspace, second.id, "ann").changed
    assert [one.cut for one in line_of(tasks, id, 3)] == [None] * 4
    with tasks.workspace.database.reading() as connection:
        assert not sample_words.rejected(connection)
    assert not restore(tasks.workspace, second.id).changed


def test_a_person_s_own_rejection_outlives_restoring(grown: tuple[EvolvingSet, str]) -> None:
    tasks, id = grown
    _, second, third = line_of(tasks, id, 2)
    say(tasks.workspace, tasks.sample(third.child).id, "reject", note="wrong")
    prune(tasks.workspace, second.id)
    restore(tasks.workspace, second.id)
    with tasks.workspace.database.reading() as connection:
        assert set(sample_words.rejected(connection)) == {third.child}


def test_redoing_a_branch_costs_its_own_calls_and_nothing_else(grown: tuple[EvolvingSet, str]) -> None:
    tasks, id = grown
    before, hits = {one.id: one for one in tasks.steps(id)}, tasks.teacher.hits
    _, second, third = line_of(tasks, id, 7)
    result = redo(tasks.workspace, second.id, None, person="ann", limits=QUICK, open_teacher=Near)
    assert result.report["calls"] == tasks.teacher.hits - hits == 6  # two steps of three calls each
    asked = [one.body for one in tasks.teacher.completions[hits:]]
    root = tasks.sample(7)
    assert {root_of(body) for body in asked} == {f"{root.instruction}\n\n{root.input}".strip()}
    assert {draw_of(body) for body in asked} == {(2, 1), (3, 1)}
    after = {one.id: one for one in tasks.steps(id)}
    assert all(after[one] == before[one] for one in before if one not in (second.id, third.id))
    assert [after[one.id].cut for one in (second, third)] == [REDONE, REDONE]
    new = [one for one in after.values() if one.id not in before]
    assert [(one.round, one.redo, one.state) for one in new] == [(2, 1, "kept"), (3, 1, "kept")]
    assert (new[0].parent, new[1].parent) == (second.parent, new[0].child)
    told = tasks.evolve(rounds=3)
    assert told.unchanged and told.report["size"] == 48
    assert [one["redone"] for one in told.report["rounds"]] == [0, 1, 1]
    again = redo(tasks.workspace, second.id, None, limits=QUICK, open_teacher=Near)
    assert again.unchanged  # it was redone: redo the one in its place
    with pytest.raises(WrongInput, match="Another attempt stands in its place"):
        restore(tasks.workspace, second.id)


def test_redoing_an_eliminated_step_leaves_what_later_rounds_made_of_its_parent(
    tasks: EvolvingSet, says: EvolvingTeacher
) -> None:
    says.fate = lambda root, round, redo: EQUAL if (round, redo) == (1, 0) and "number 1 " in root else LIVES
    id = tasks.evolve(rounds=2).report["evolution"]
    failed, later = line_of(tasks, id, 2)
    hits = tasks.teacher.hits
    redo(tasks.workspace, failed.id, None, limits=QUICK, open_teacher=Near)
    assert tasks.teacher.hits - hits == 3
    old, new, same = line_of(tasks, id, 2)
    assert (old.cut, new.state, new.round, same) == (REDONE, "kept", 1, later)


def test_a_redo_that_was_killed_goes_on(grown: tuple[EvolvingSet, str]) -> None:
    tasks, id = grown
    _, second, _ = line_of(tasks, id, 4)
    tasks.teacher.faults = lambda index, name: refusal("no")
    given = {"budget_tokens": 1}
    paused = redo(tasks.workspace, second.id, None, given, limits=QUICK, open_teacher=Near)
    assert paused.report["paused"]
    tasks.teacher.faults = ()
    given = {"budget_tokens": 10**9}
    redo(tasks.workspace, second.id, None, given, limits=QUICK, open_teacher=Near)
    assert [one.redo for one in line_of(tasks, id, 4)] == [0, 0, 1, 0, 1]
    assert [one.state for one in line_of(tasks, id, 4)] == ["kept"] * 5


def test_what_a_rule_eliminated_can_be_kept(tasks: EvolvingSet, says: EvolvingTeacher) -> None:
    fates = {0: LEAKS, 1: EQUAL, 2: SORRY}
    says.fate = lambda root, round, redo: next(
        (name for at, name in fates.items() if f"number {at} " in root), LIVES
    )
    id = tasks.evolve().report["evolution"]
    leaked, equal, sorry = tasks.steps(id)[:3]
    hits = tasks.teacher.hits
    assert "it is a sample now" in keep_anyway(tasks.workspace, sorry.id, "ann").message
    assert tasks.teacher.hits == hits
    now = find_step(tasks.workspace, sorry.id)
    assert now.state == "kept" and now.overruled == [{"rule": "sorry", "person": "ann"}]
    assert tasks.sample(now.child).response == "I'm sorry, but I can't solve this one."
    assert tasks.sample(now.child).extra["step"] == sorry.id
    for one in (leaked, equal):
        assert "asks for its answer" in keep_anyway(tasks.workspace, one.id).message
    report = tasks.evolve().report
    assert tasks.teacher.hits == hits + 2 and report["rounds"][0]["evolved"] == 12
    assert not keep_anyway(tasks.workspace, leaked.id).changed


def test_what_is_not_there_cannot_be_kept(tasks: EvolvingSet) -> None:
    tasks.teacher.faults = [refusal("No.")]
    id = tasks.evolve(limit=1, concurrency=1).report["evolution"]
    (step,) = tasks.steps(id)
    with pytest.raises(WrongInput, match="redo it instead"):
        keep_anyway(tasks.workspace, step.id)
    with pytest.raises(WrongInput, match="No step"):
        prune(tasks.workspace, "nothing")


def test_children_of_one_seed_repeat_no_seed(tasks: EvolvingSet) -> None:
    """Magicoder's rule drops a second reply to a seed; what was evolved from the first is no second reply."""
    with tasks.workspace.database.transaction() as connection:
        seeds.add(connection, made_up_seeds(1))
        (seed,) = connection.exec_driver_sql("SELECT id FROM seed").one()
        given = Sample(
            id="made", instruction="Sort by number 50.", input="", response="sorted(x)", source="s", row=None,
            name="made", licence="MIT", method="oss-instruct", seed_id=seed,
        )  # fmt: skip
        samples.add(connection, [given])
    tasks.evolve(parents="made", rounds=2)
    report = clean(tasks.workspace, "magicoder").report
    assert report["dropped"] == {} and report["kept"] == 12 + 3
    with tasks.workspace.database.reading() as connection:
        assert {row.seed_id for row in samples.of_set(connection, "evol-instruct")} == {seed}


# --- reading ---


def test_the_tree_of_a_sample_tells_every_attempt(tasks: EvolvingSet, says: EvolvingTeacher) -> None:
    says.fate = lambda root, round, redo: SORRY if round == 2 else LIVES
    id = tasks.evolve(rounds=3).report["evolution"]
    (told,) = told_tree(tasks.workspace, tasks.ids[4])["families"]
    first, second, third = told["steps"]
    assert [(one["round"], one["depth"], one["state"]) for one in told["steps"]] == [
        (1, 0, "kept"), (2, 1, "rejected"), (3, 1, "kept"),
    ]  # fmt: skip
    assert second["rule"] == "sorry" and "sample" not in second
    tree = tree_of(tasks.workspace, id, 5)
    (grown_from_root,) = tree.nodes
    assert [one.step.round for one in grown_from_root.grown] == [2, 3]
    (same,) = families(tasks.workspace, grown_from_root.child.seq)  # type: ignore[union-attr]
    assert same.root.id == tasks.ids[4] and third["sample"] == same.nodes[0].grown[1].child.id  # type: ignore[union-attr]
    assert first["sample"] == grown_from_root.child.id  # type: ignore[union-attr]


def test_lists_of_trees_filter_by_what_a_step_is_and_miss_none(
    tasks: EvolvingSet, says: EvolvingTeacher
) -> None:
    says.fate = lambda root, round, redo: SORRY if round == 2 and "number 1" in root else LIVES
    id = tasks.evolve(rounds=2).report["evolution"]
    seen: list[int] = []
    after = None
    while True:
        page = trees(tasks.workspace, id, StepQuery(), after, size=5)
        assert (page.trees, page.steps) == (12, 24)
        seen += [one.root for one in page.lines]
        after = page.after
        if after is None:
            break
    assert seen == list(range(1, 13))
    back = trees(tasks.workspace, id, StepQuery(), before=6, size=3)
    assert [one.root for one in back.lines] == [3, 4, 5] and back.before == 3
    sorry = trees(tasks.workspace, id, StepQuery(rule="sorry"))
    assert [one.root for one in sorry.lines] == [2, 11, 12] and sorry.steps == 3
    drawn = {one.root for one in tasks.steps(id) if one.heuristic == "rarer" and one.round == 1}
    page = trees(tasks.workspace, id, StepQuery(heuristic="rarer", round=1))
    assert {one.root for one in page.lines} == drawn


def test_the_report_measures_rounds_and_heuristics_and_counts_add_up(
    tasks: EvolvingSet, says: EvolvingTeacher
) -> None:
    says.fate = by_chance(SHARES)
    id = tasks.evolve(rounds=2).report["evolution"]
    told = round_report(tasks.workspace, id)
    for line in told.rounds:
        of_round = [one for one in told.heuristics if one.round == line.round]
        for name in ("parents", "evolved", "waiting", "tokens_in", "tokens_out", "calls"):
            assert sum(getattr(one, name) for one in of_round) == getattr(line, name), name
        assert line.growth is not None and line.growth > 1 and line.words is not None
        assert line.alike is None and line.difficulty is None  # nobody measured them
    billed = sum(line.tokens_in + line.tokens_out for line in told.rounds)
    assert billed == tasks.teacher.billed
    said = full_report(tasks.workspace, id)
    assert said["published"]["sizes"] == [20_000, 38_000, 58_000, 78_000, 98_000]
    assert "difficulty" not in said["rounds"][0] and "alike" not in said["rounds"][0]


def test_explain_names_parent_round_and_heuristic(grown: tuple[EvolvingSet, str]) -> None:
    tasks, id = grown
    _, second, _ = line_of(tasks, id, 3)
    extra = explain(tasks.workspace, tasks.sample(second.child).id)["origin"]["extra"]
    assert extra["parent"] == tasks.sample(second.parent).id and extra["round"] == 2
    assert extra["heuristic"] == second.heuristic and extra["evolution"] == id
    parents = explain(tasks.workspace, tasks.sample(second.child).id)["origin"]["parents"]
    assert [(one["id"], one["round"]) for one in parents] == [
        (tasks.sample(second.parent).id, 2), (tasks.sample(3).id, 1),
    ]  # fmt: skip
    assert parents[0]["heuristic"] == second.heuristic and parents[0]["step"] == second.id


# --- scores ---


def test_the_best_round_is_the_earliest_of_the_highest_score(grown: tuple[EvolvingSet, str]) -> None:
    tasks, id = grown
    assert "No round was scored" in standing(tasks.workspace, id).advice
    for round, score in ((0, 45.7), (1, 52.0), (2, 56.1), (3, 56.1)):
        told = enter_score(tasks.workspace, id, round, score)
    assert (told.best, told.sizes) == (2, {0: 12, 1: 24, 2: 36, 3: 48})
    assert told.advice.startswith("Stop: round 3 scored no better than round 2")
    told = enter_score(tasks.workspace, id, 3, 57.0)
    assert told.best == 3 and "one more round" in told.advice
    told = enter_score(tasks.workspace, id, 3, None)
    assert told.best == 2 and "Round 3 has no score" in told.advice


@pytest.mark.parametrize(
    "given, told",
    [
        ({"round": 9}, "no round 9"),
        ({"score": 101}, "give a percentage"),
        ({"score": float("nan")}, "give a percentage"),
        ({"benchmark": "HumanEval"}, "results are reported on"),
        ({"benchmark": "human-eval+"}, "results are reported on"),
        ({"benchmark": "MBPP"}, "results are reported on"),
        ({"benchmark": "mbpp test"}, "results are reported on"),
        ({"benchmark": "our test set"}, "results are reported on"),
        ({"benchmark": " "}, "Name the held-out set"),
    ],
)
def test_a_score_that_would_mislead_is_refused(
    grown: tuple[EvolvingSet, str], given: dict[str, Any], told: str
) -> None:
    tasks, id = grown
    with pytest.raises(WrongInput, match=told):
        enter_score(tasks.workspace, id, **{"round": 1, "score": 50.0, **given})


def test_scores_of_two_sets_are_not_compared(grown: tuple[EvolvingSet, str]) -> None:
    tasks, id = grown
    enter_score(tasks.workspace, id, 1, 50.0, "mbpp dev")
    with pytest.raises(WrongInput, match="'mbpp dev'"):
        enter_score(tasks.workspace, id, 2, 51.0, "our held-out tasks")


# --- settings, and the terminal ---


@pytest.mark.parametrize(
    "given, told",
    [
        ({"rounds": 0}, "--rounds 0"),
        ({"limit": -1}, "--limit -1"),
        ({"name": " "}, "name"),
        ({"name": "a", "parents": "a"}, "another name"),
        ({"checks": ("spelling",)}, "no check 'spelling'"),
        ({"heuristics": "harder"}, "no heuristic 'harder'"),
        ({"top_p": 0.0}, "--top-p"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(WrongInput, match=told):
        Settings(model="m", **given)


def test_no_sample_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="--from"):
        evolve(Workspace(tmp_path / "w"), Settings(model="m", base_url="http://127.0.0.1:9/v1"), None)


def test_an_endpoint_that_is_refused_leaves_nothing(tasks: EvolvingSet) -> None:
    with pytest.raises(WrongInput, match="link-local"):
        tasks.evolving(base_url="http://169.254.169.254/v1").run()
    assert tasks.query("SELECT count(*) FROM evolution") == [(0,)]


def test_the_job_takes_every_setting_that_is_a_person_s(tasks: EvolvingSet) -> None:
    for step in ("evolve", "evolve-preview"):
        check(step, {"model": "m", "ids": ["a"]})
        known = set(STEPS[step].knows)
        ours = set(Settings.__dataclass_fields__) - {"poll"}
        assert ours <= known, ours - known
    asked = settings_of({"model": "m", "ids": ["a"], "checks": ["length"]})
    assert (asked.ids, asked.checks) == (("a",), ("length",))
    assert "top_p" in GenerateSettings.__dataclass_fields__


def test_the_terminal_evolves_tells_prunes_and_scores(tasks: EvolvingSet, capsys: Any) -> None:
    cli = CommandLine(tasks.workspace.folder, capsys)
    words = ["evolve", "--from", SET, "--model", "loopback", "--base-url", tasks.teacher.base_url]
    told = cli.done(*words, "--rounds", "2", "--limit", "4", "--heuristics", "rarer,complexity=0.5")
    assert [(one["parents"], one["evolved"], one["rejected"]) for one in told["rounds"]] == [(4, 4, {})] * 2
    (one,) = cli.done("evolution", "list")["evolutions"]
    assert one["evolution"] == told["evolution"] and one["rounds"] == 2
    assert cli.done("evolution", "report")["rounds"][1]["size"] == 12
    (family,) = cli.done("evolution", "tree", tasks.ids[0])["families"]
    step = family["steps"][1]["step"]
    assert cli.done("evolution", "prune", step[:10], "--as", "ann")["changed"]
    assert cli.done("evolution", "restore", step)["changed"]
    assert cli.done("evolution", "score", "1", "51.5")["best"] == 1
    hits = tasks.teacher.hits
    assert cli.done("evolution", "redo", step)["calls"] == 3 == tasks.teacher.hits - hits
    ran = cli("evolve", "--from", "nothing", "--model", "m", "--base-url", tasks.teacher.base_url)
    assert ran.status == 2 and "--from" in ran.err and "Traceback" not in ran.err
    ran = cli("evolution", "score", "1", "much")
    assert ran.status == 2 and "'much'" in ran.err
