"""Replies on record, read by a newer parser: which become samples, which change their reason, what stays.

The older parser is the published rule, which Winnow keeps beside its own: it drops replies that ours reads,
and reads some that ours refuses.
"""

import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curation import parse_again as step
from curation import prompt_shelf
from curation.asking import Asking, Final, said_of
from curation.errors import StageCancelled, WrongInput
from curation.generate import OssInstruct, Settings, generate
from curation.oss_instruct import PARSER, Unparsed, parse
from curation.parse_again import parse_again
from curation.reply import Verdict, sample_of
from curation.stage import silent
from curation.store import generations, runs, samples, seeds
from curation.store.database import Connection
from curation.store.generations import FAILED, KEPT, REJECTED, Decided
from curation.workspace import Workspace
from jobs.steps import STEPS, check
from tests.loopback_teacher import LoopbackTeacher, content, finished, loopback_teacher
from tests.made_up_seeds import made_up_seeds
from tests.workspaces import CommandLine

OLDER = "0"
P, S = "[Problem Description]", "[Solution]"
ESCAPED = "\\[Problem Description\\]\nMultiply.\n\\[Solution\\]\nx * y"  # the published rule sees no marker
QUOTED = f"Quote `{S}` first.\n{P}\nAdd."
REPLIES = (
    f"{P}\nAdd.\n\n{S}\nx + y",  # 0: read by both
    f"I write {P} and then {S}.\n\n{P}\nSubtract.\n\n{S}\nx - y",  # 1: by ours only
    ESCAPED,  # 2: by ours only
    f"{P}\nRead this:\n```\n{S}\n42\n```\n{S}\nread()",  # 3: by both, and not alike
    f"{P}\nOne.\n{S}\n1\n{P}\nTwo.\n{S}\n2",  # 4: by the published rule only
    QUOTED,  # 5: by none, for another reason
    "I cannot think of one.",  # 6: by none, for the same reason
    f"{P}\nCut off.\n{S}\nx = ",  # 7: ended at the longest length
    "not sent",  # 8: an answer that is no completion
)
NUMBER = re.compile(r"def step_(\d+)\(")


@dataclass(frozen=True)
class OlderWinnow(OssInstruct):
    """Reads replies as a Winnow of before would have."""

    def keep(self, connection: Connection, finals: Sequence[Final]) -> Sequence[Decided]:
        made, decided = [], []
        for one in finals:
            verdict = older_verdict(one)
            sample = None
            if verdict.state == KEPT and not self.settings.is_trial:
                sample = sample_of(verdict, one.call, one.subject, self.settings.name, one.item.draw)
                made.append(sample)
            decided.append(
                Decided(
                    one.item.position, verdict.state, verdict.reason, verdict.evidence, {},
                    None if sample is None else sample.id, verdict.parser,
                    one.call.id if one.is_repair else None,
                )
            )  # fmt: skip
        samples.add(connection, made)
        return decided


def older_verdict(one: Final) -> Verdict:
    said = one.outcome.completion
    if said is None:
        return Verdict(FAILED, one.outcome.reason)
    if said.finish_reason != "stop":
        return Verdict(REJECTED, "cut_off", {"characters": len(said.content)}, parser=OLDER)
    read = parse(said.content, "magicoder")
    if isinstance(read, Unparsed):
        verdict = Verdict(REJECTED, read.reason, dict(read.evidence), parser=OLDER)
        return verdict.after_repair() if one.is_repair else verdict
    return Verdict(KEPT, None, {}, {}, read.problem, read.solution, OLDER)


def number_in(body: dict[str, Any]) -> int:
    found = NUMBER.search(body["messages"][1]["content"])
    assert found is not None
    return int(found[1])


def with_seeds(folder: Path, number: int) -> Workspace:
    workspace = Workspace(folder)
    with workspace.database.transaction() as connection:
        seeds.add(connection, made_up_seeds(number))
    return workspace


def settings_for(teacher: LoopbackTeacher, number: int, **more: Any) -> Settings:
    ids = tuple(one.id for one in made_up_seeds(number))
    return Settings(**{"model": "m", "base_url": teacher.base_url, "ids": ids, "name": "oss", **more})


def generate_before(workspace: Workspace, settings: Settings) -> str:
    """Generate as an older Winnow would have, and give the id of the generation."""
    prompt = prompt_shelf.prompt_for(workspace, "oss-instruct", None)
    method = OlderWinnow(prompt, settings)
    asking = Asking(workspace, method, settings, prompt, settings.label, settings.ids, 1, None)
    asking.run_stage(said_of(settings), silent)
    return asking.id


@dataclass(frozen=True)
class Before:
    """A workspace of an older Winnow, to be copied, and its teacher."""

    folder: Path
    teacher: LoopbackTeacher
    generation: str
    settings: Settings


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Before]:
    folder = tmp_path_factory.mktemp("before") / "workspace"
    workspace = with_seeds(folder, len(REPLIES))
    # One at a time, so that the faults meet replies 7 and 8.
    faults = [*([None] * 7), finished("length"), content([1])]
    with loopback_teacher(lambda body: REPLIES[number_in(body)], faults) as teacher:
        settings = settings_for(teacher, len(REPLIES), repair=False, concurrency=1)
        id = generate_before(workspace, settings)
        workspace.database.close()
        yield Before(folder, teacher, id, settings)


@pytest.fixture
def workspace(before: Before, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(before.folder, tmp_path / "workspace")
    opened = Workspace(tmp_path / "workspace")
    yield opened
    opened.database.close()


def items(workspace: Workspace, id: str) -> list[Any]:
    found = [generations.item_at(workspace.database, id, position) for position in range(20)]
    return [one for one in found if one is not None]


def states(workspace: Workspace, id: str) -> list[tuple[str, str | None]]:
    return [(one.state, one.reason) for one in items(workspace, id)]


def texts(workspace: Workspace) -> dict[str, tuple[str, str]]:
    """Give problem and solution of every sample, by its id."""
    found = samples.stream(workspace.database, ("id", "instruction", "response"))
    return {row.id: (row.instruction, row.response) for row in found}


def everything(workspace: Workspace, id: str) -> list[Any]:
    """Give all that reading again could change."""
    rows = samples.stream(workspace.database, ("id", "instruction", "response", "extra", "name", "seed_id"))
    return [tuple(row) for row in rows] + [tuple(one) for one in items(workspace, id)]


REPORT = {
    "generations": 1,
    "read": 8,
    "now_kept": 2,
    "changed_reason": {"reversed_markers -> missing_solution_marker": 1},
    "would_reject": {"second_problem": 1},
}


def test_each_reply_is_read_as_it_would_be_today(before: Before, workspace: Workspace) -> None:
    assert states(workspace, before.generation) == [
        (KEPT, None), (REJECTED, "markers_on_one_line"), (REJECTED, "missing_both_markers"), (KEPT, None),
        (KEPT, None), (REJECTED, "reversed_markers"), (REJECTED, "missing_both_markers"),
        (REJECTED, "cut_off"), (FAILED, "bad_response"),
    ]  # fmt: skip
    then, hits = texts(workspace), before.teacher.hits
    report = parse_again(workspace)
    told = items(workspace, before.generation)
    assert report == {**REPORT, "would_reject_ids": [told[4].sample_id]}
    assert states(workspace, before.generation) == [
        (KEPT, None), (KEPT, None), (KEPT, None), (KEPT, None),
        (KEPT, None), (REJECTED, "missing_solution_marker"), (REJECTED, "missing_both_markers"),
        (REJECTED, "cut_off"), (FAILED, "bad_response"),
    ]  # fmt: skip
    assert [one.parser for one in told] == [OLDER, PARSER, PARSER, OLDER, OLDER, *[PARSER] * 3, None]
    now = texts(workspace)
    assert {id: now[id] for id in then} == then, "what was kept has its texts, also where ours differ"
    assert now[told[1].call_id] == ("Subtract.", "x - y") and now[told[2].call_id] == ("Multiply.", "x * y")
    assert len(now) == 5 and [one.sample_id for one in told[:3]] == [one.call_id for one in told[:3]]
    assert told[5].evidence["solution_inside"] == 1
    assert before.teacher.hits == hits, "nobody was asked"


def test_reading_again_twice_changes_nothing(before: Before, workspace: Workspace) -> None:
    first = parse_again(workspace)
    known = everything(workspace, before.generation)
    again = parse_again(workspace, before.generation)
    assert again == {**first, "now_kept": 0, "changed_reason": {}}
    assert everything(workspace, before.generation) == known


def test_the_samples_are_those_of_a_fresh_run(before: Before, workspace: Workspace, tmp_path: Path) -> None:
    """And a resume of the generation finds nothing to ask."""
    parse_again(workspace)
    hits = before.teacher.hits
    resumed = generate(workspace, before.settings, None).report
    assert (resumed["kept"], resumed["calls"], before.teacher.hits) == (5, 0, hits)
    fresh = with_seeds(tmp_path / "fresh", 3)
    before.teacher.faults = ()
    generate(fresh, settings_for(before.teacher, 3, repair=False), None)
    ours = {row.id: row for row in samples.read(workspace.database, range(1, 6))}
    for row in samples.read(fresh.database, range(1, 4)):
        assert tuple(row)[1:] == tuple(ours[row.id])[1:], "all but the number of the row is the same"
    fresh.database.close()


def test_a_reply_whose_seed_is_gone_stays_without_a_sample(before: Before, workspace: Workspace) -> None:
    with workspace.database.transaction() as connection:
        seeds.remove(connection, [made_up_seeds(2)[1].id])
    report = parse_again(workspace)
    assert report["now_kept"] == 1
    assert report["changed_reason"]["markers_on_one_line -> seed_gone"] == 1
    one = items(workspace, before.generation)[1]
    assert (one.state, one.evidence, one.sample_id) == (REJECTED, {"of": made_up_seeds(2)[1].id}, None)
    with workspace.database.transaction() as connection:
        seeds.add(connection, made_up_seeds(2))
    assert parse_again(workspace)["now_kept"] == 1, "the seed came back"


def test_a_stop_half_way_keeps_what_was_read(
    before: Before, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(before.folder, tmp_path / "undisturbed")
    undisturbed = Workspace(tmp_path / "undisturbed")
    parse_again(undisturbed)
    monkeypatch.setattr(step, "PAGE", 2)

    def stop(what: str, done: int, total: int) -> None:
        assert (what, total) == ("reading replies again", 8)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(StageCancelled):
        parse_again(workspace, None, stop)
    assert len(texts(workspace)) == 4 and states(workspace, before.generation)[2][0] == REJECTED
    assert parse_again(workspace)["now_kept"] == 1
    assert everything(workspace, before.generation) == everything(undisturbed, before.generation)
    undisturbed.database.close()


def test_it_waits_for_a_generation_that_is_at_work(before: Before, workspace: Workspace) -> None:
    """Else a reply could be asked for once more while it becomes a sample."""
    db = workspace.database
    busy = runs.start(db, runs.Request(f"oss-instruct:{before.generation[:16]}", {}, "", "1"))
    assert busy.run_id is not None
    is_waiting, found = threading.Event(), list[dict[str, Any]]()

    def note(what: str, done: int, total: int) -> None:
        if what.startswith("attached"):
            is_waiting.set()

    thread = threading.Thread(target=lambda: found.append(parse_again(workspace, None, note)))
    thread.start()
    assert is_waiting.wait(20) and not found
    assert states(workspace, before.generation)[1] == (REJECTED, "markers_on_one_line")
    runs.stop(db, busy.run_id, "cancelled", "stopped by the test")
    thread.join(20)
    assert found and found[0]["now_kept"] == 2


# --- replies that were asked for once more ---


def test_of_two_replies_the_one_that_can_be_read_counts(tmp_path: Path) -> None:
    first = (ESCAPED, "no idea", ESCAPED, "no idea")
    second = ("no idea", ESCAPED, ESCAPED, QUOTED)
    workspace = with_seeds(tmp_path / "workspace", 4)

    def reply(body: dict[str, Any]) -> str:
        return (first if len(body["messages"]) == 2 else second)[number_in(body)]

    with loopback_teacher(reply) as teacher:
        id = generate_before(workspace, settings_for(teacher, 4))
        assert teacher.hits == 8
    then = items(workspace, id)
    assert all(one.state == REJECTED and one.repair_id for one in then)
    report = parse_again(workspace)
    now = items(workspace, id)
    assert (report["read"], report["now_kept"]) == (4, 3)
    assert report["changed_reason"] == {"reversed_markers -> missing_solution_marker": 1}
    assert [one.sample_id for one in now] == [then[0].call_id, then[1].repair_id, then[2].repair_id, None]
    assert set(texts(workspace)) == {one.sample_id for one in now if one.sample_id}
    assert (now[0].repair_id, now[0].evidence) == (None, {"unused_repair": then[0].repair_id})
    assert [one.repair_id for one in now[1:]] == [one.repair_id for one in then[1:]]
    assert now[3].evidence["repair"] == "asked once more, in vain"
    assert parse_again(workspace)["now_kept"] == 0
    workspace.database.close()


def test_what_was_only_tried_makes_no_samples(tmp_path: Path) -> None:
    workspace = with_seeds(tmp_path / "workspace", 3)
    with loopback_teacher(lambda body: REPLIES[number_in(body)]) as teacher:
        id = generate_before(workspace, settings_for(teacher, 3, is_trial=True, repair=False))
    assert parse_again(workspace)["now_kept"] == 2
    assert states(workspace, id) == [(KEPT, None)] * 3 and samples.count(workspace.database) == 0
    workspace.database.close()


# --- the terminal and jobs ---


def test_parse_again_from_the_terminal(before: Before, workspace: Workspace, cli: CommandLine) -> None:
    assert cli.workspace == workspace.folder
    ran = cli("replies", "parse-again", "--generation", before.generation[:8])
    assert {name: ran.report[name] for name in REPORT} == REPORT
    assert "1 samples could not be read today; they stay as they are" in ran.err
    assert cli.done("replies", "parse-again")["now_kept"] == 0
    for wrong, message in (("abc", "that begins with 'abc'"), ("f" * 32, "No generation")):
        refused = cli("replies", "parse-again", "--generation", wrong)
        assert refused.status == 2 and message in refused.err


def test_there_must_be_replies_with_sections(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(WrongInput, match="No teacher has replied yet"):
        parse_again(workspace)
    with workspace.database.transaction() as connection:
        prompt = prompt_shelf.prompt_for(workspace, "judge", None)
        prompt_shelf.keep(connection, prompt)
        facts = {"method": "judge", "name": "judge", "model": "m", "endpoint": "http://127.0.0.1:1/v1"}
        generations.open_generation(
            connection, "a" * 32, {**facts, "prompt_hash": prompt.hash, "settings": {}}
        )
    with pytest.raises(WrongInput, match="is a generation of judge; only oss-instruct has sections"):
        parse_again(workspace, "a" * 32)
    workspace.database.close()


def test_parse_again_as_a_job(before: Before, workspace: Workspace) -> None:
    check("parse-again", {"generation": before.generation})
    outcome = STEPS["parse-again"].run(workspace, {"generation": before.generation}, silent)
    assert outcome["ok"] and outcome["report"]["now_kept"] == 2
