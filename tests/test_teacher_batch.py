"""The provider's batch API: the same samples as asking now, and nothing lost or paid for twice, whatever the
teacher, the network or a kill does to a batch."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from curation.batch_lines import read_line, request_line
from curation.errors import StageCancelled, WrongInput
from curation.generate import Settings, carry_out, prepare
from curation.stage import Progress, StageResult, silent
from curation.store import seeds
from curation.store.database import Database
from curation.teacher import call_of
from curation.workspace import Workspace
from tests.faults import KILLED, run
from tests.generating import QUICK, Near
from tests.loopback_batches import BatchPlan
from tests.loopback_teacher import (
    Fault,
    LoopbackTeacher,
    content,
    cut_short,
    finished,
    html_page,
    loopback_teacher,
    rate_limited,
    refusal,
    server_error,
    unauthorised,
    without,
)
from tests.made_up_seeds import in_sections, made_up_seeds

POLL = 0.01  # seconds between two looks
CANARY = "sk-canary-5f2c1d9e8b7a6c4d3e2f"


@pytest.fixture
def teacher() -> Iterator[LoopbackTeacher]:
    with loopback_teacher(in_sections) as server:
        yield server


empty: Path  # an empty workspace, which the others are copies of: making each anew takes ten times as long


@pytest.fixture(scope="module", autouse=True)
def made_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    global empty
    empty = tmp_path_factory.mktemp("empty")
    Workspace(empty).database.close()


def workspace_at(folder: Path, number: int = 6) -> Workspace:
    shutil.copytree(empty, folder, dirs_exist_ok=True)
    workspace = Workspace(folder)
    with workspace.database.transaction() as connection:
        seeds.add(connection, made_up_seeds(number))
    return workspace


def ask(
    workspace: Workspace,
    teacher: LoopbackTeacher,
    key: str | None = None,
    show: Progress = silent,
    **said: Any,
) -> StageResult:
    given = {"model": "loopback", "base_url": teacher.base_url, "mode": "batch", "poll": POLL, **said}
    settings = Settings(**given)
    asking = prepare(workspace, settings, key)
    asking.limits, asking.open_teacher = QUICK, Near  # of what is asked now
    return carry_out(asking, settings, show)


def rows(db: Database, query: str) -> list[tuple[Any, ...]]:
    with db.reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def samples(workspace: Workspace) -> list[tuple[Any, ...]]:
    return rows(
        workspace.database,
        "SELECT id, seed_id, instruction, response, source, licence, extra FROM sample ORDER BY id",
    )


def items(workspace: Workspace) -> list[tuple[Any, ...]]:
    return rows(
        workspace.database,
        "SELECT position, subject, state, reason, evidence, flags, call_id, repair_id, sample_id "
        "FROM generation_item ORDER BY position",
    )


def call_states(workspace: Workspace) -> Counter[str]:
    return Counter(state for (state,) in rows(workspace.database, "SELECT state FROM teacher_call"))


def batch_states(workspace: Workspace) -> list[str]:
    return [state for (state,) in rows(workspace.database, "SELECT state FROM teacher_batch ORDER BY number")]


def paths(teacher: LoopbackTeacher, method: str, path: str) -> int:
    return sum(one.method == method and one.path.split("?")[0] == path for one in teacher.requests)


def assert_each_paid_once(teacher: LoopbackTeacher, number: int) -> None:
    """The teacher's own count: so many different requests executed, none of them twice."""
    executed = teacher.batches.executed
    assert (len(executed), executed.total()) == (number, number), executed


def assert_as_undisturbed(workspace: Workspace, teacher: LoopbackTeacher, folder: Path) -> None:
    """What this workspace holds is what another one gets from the same teacher when all goes well."""
    other = workspace_at(folder)
    teacher.batches.plans = []
    ask(other, teacher)
    assert samples(workspace) == samples(other) != []
    assert items(workspace) == items(other)


# --- undisturbed ---


def mixed(teacher: LoopbackTeacher) -> None:
    """Let every kind of reply come, by the prompt alone: also one in which a line separator stands raw."""

    def reply(body: dict[str, Any]) -> str:
        said = in_sections(body).replace("own name.", "own\u2028name\u0085.")
        is_repair = len(body["messages"]) > 2
        return said if is_repair or kind(body) != 0 else said.replace("[Solution]", "")

    def kind(body: dict[str, Any]) -> int:
        return sum(map(ord, json.dumps(body["messages"][-1]))) % 5

    wrong: list[Fault | None] = [None, refusal(), finished("length"), without("usage"), content(None)]
    teacher.reply = reply
    teacher.faults = lambda index, hash: wrong[int(hash, 16) % 5] if int(hash, 16) % 2 else None


def test_a_batch_gives_what_asking_now_gives(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    mixed(teacher)
    teacher.batches.plans = [BatchPlan(looks=3, shuffled=True), BatchPlan(shuffled=True)]
    ours, other = workspace_at(tmp_path / "batch", 40), workspace_at(tmp_path / "now", 40)

    report = ask(ours, teacher).report

    assert len(teacher.batches.made) == 2, "one of first replies, one of replies asked for in the right form"
    assert teacher.hits == 0, "nothing was asked otherwise"
    assert report["paused"] is None and report["waiting"] == 0
    assert report["kept"] >= 10 and len(report["rejected"]) >= 3 and report["failed"]
    told = ask(other, teacher, mode="now").report
    assert samples(ours) == samples(other)
    assert items(ours) == items(other)
    assert {**report, "batches": [], "calls": 0} == {**told, "calls": 0}, "tokens, too"
    facts = (
        "SELECT id, state, draw, attempts, request, finish_reason, tokens_in, tokens_out, is_guessed, reason "
        "FROM teacher_call ORDER BY id"
    )
    assert rows(ours.database, facts) == rows(other.database, facts)


def test_calls_and_batch_are_on_record_before_the_teacher_works(
    teacher: LoopbackTeacher, tmp_path: Path
) -> None:
    workspace = workspace_at(tmp_path)
    seen: list[Any] = []

    def reply(body: dict[str, Any]) -> str:
        batch = rows(workspace.database, "SELECT state, file_id, calls, id FROM teacher_batch")
        seen.append((batch, call_states(workspace)))
        return in_sections(body)

    teacher.reply = reply
    ask(workspace, teacher)

    assert seen == [([("uploaded", "file-0", 6, None)], Counter(sent=6))] * 6
    assert batch_states(workspace) == ["completed"]
    (asked,) = teacher.batches.made.values()
    assert asked.metadata == {"winnow": rows(workspace.database, "SELECT name FROM teacher_batch")[0][0]}


def test_large_askings_go_in_several_batches(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path, 10)
    teacher.batches.plans = [BatchPlan(looks=4), BatchPlan(looks=1), BatchPlan()]
    said: list[str] = []

    report = ask(workspace, teacher, batch_size=4, show=lambda what, done, total: said.append(what)).report

    assert [one.requests for one in teacher.batches.made.values()] == [4, 4, 2]
    assert [one["calls"] for one in report["batches"]] == [4, 4, 2] and report["kept"] == 10
    its_counts = "1 in_progress; the teacher says 3 of 4"  # of the batch whose replies are not here yet
    assert any(its_counts in one for one in said)
    assert_each_paid_once(teacher, 10)


# --- what may be wrong with the files ---


def test_lines_are_told_apart(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    """First a batch of 3 of which one is missing; then one whose file also holds a line of the first."""
    workspace = workspace_at(tmp_path)
    teacher.batches.plans = [BatchPlan(missing=1)]
    first = ask(workspace, teacher, limit=3).report
    assert (first["kept"], first["waiting"]) == (2, 1)
    assert first["batches"][0]["lines"] == {"done": 2, "without_answer": 1}
    assert "no answer in their batch: 1" in first["paused"]
    assert first["tokens_lost"] > 2_500, "it may be billed: the worst case counts"

    of_another = teacher.batches.files["file-1"].decode().splitlines()[0]
    other = json.dumps({**json.loads(of_another), "response": {"status_code": 200, "body": {}}})
    lines = ("{first}", other, '{"custom_id": "x"}', '{"custom_id": "\\ud800"}', "{torn", "", "[]")
    teacher.batches.plans = [BatchPlan(), BatchPlan(more_lines=lines, refused=1)]
    report = ask(workspace, teacher).report

    assert report["batches"][1]["lines"] == {
        "done": 3, "failed": 1, "doubled": 1, "of_another_batch": 1, "unknown": 2, "unreadable": 2,
    }  # fmt: skip
    assert (report["kept"], report["failed"], report["waiting"]) == (5, {"refused_request": 1}, 0)
    assert report["paused"] is None and len(samples(workspace)) == 5


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_what_was_not_executed_waits_and_is_not_billed(
    teacher: LoopbackTeacher, tmp_path: Path, end: str
) -> None:
    workspace = workspace_at(tmp_path / "batch")
    teacher.batches.plans = [BatchPlan(looks=1, end=end, answers=4)]

    report = ask(workspace, teacher).report

    assert (report["kept"], report["waiting"], report["tokens_lost"]) == (4, 2, 0)
    assert f"batch_0 is {end}" in report["paused"] and "not billed" in report["paused"]
    assert report["batches"][0]["state"] == end and report["batches"][0]["lines"] == {"done": 4, "later": 2}
    again = ask(workspace, teacher).report
    assert (again["kept"], again["waiting"], again["calls"], again["paused"]) == (6, 0, 2, None)
    assert_each_paid_once(teacher, 6)
    assert_as_undisturbed(workspace, teacher, tmp_path / "now")


def test_a_batch_that_fails_its_check_frees_its_calls(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)
    teacher.batches.plans = [BatchPlan(looks=1, end="failed")]

    report = ask(workspace, teacher, batch_size=5).report

    assert "line 3: This line is not JSON" in report["paused"] and "--batch-size" in report["paused"]
    assert (report["waiting"], report["kept"], report["tokens"]) == (5, 1, 253), (
        "the other batch was followed"
    )
    assert ask(workspace, teacher).report["kept"] == 6
    assert_each_paid_once(teacher, 6)


def test_a_call_whose_seed_is_gone_is_recorded_all_the_same(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)

    def reply(body: dict[str, Any]) -> str:
        with workspace.database.transaction() as connection:
            seeds.remove(connection, [made_up_seeds(1)[0].id])
        return in_sections(body)

    teacher.reply = reply
    report = ask(workspace, teacher).report
    assert (report["kept"], call_states(workspace)) == (5, Counter(done=6)), "what was paid for is kept"


# --- the budget ---


def test_a_batch_is_cut_to_the_budget_and_the_rest_waits(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)
    teacher.reply = lambda body: in_sections(body) + "word " * 2_000  # most of what a reply may take
    ask(workspace, teacher, limit=1)
    ((worst, used),) = rows(
        workspace.database, "SELECT worst_in + worst_out, tokens_in + tokens_out FROM teacher_call"
    )
    # Two more at once; what they leave of their worst case has room for one, and that leaves too little.
    budget = used + 2 * worst + 600
    assert 2 * worst + 600 - 2 * used >= worst > 2 * worst + 600 - 3 * used

    report = ask(workspace, teacher, budget_tokens=budget).report

    assert [one.requests for one in teacher.batches.made.values()] == [1, 2, 1]
    assert (report["kept"], report["waiting"]) == (4, 2) and "budget is used up" in report["paused"]
    assert report["tokens"] <= budget
    assert ask(workspace, teacher).report["kept"] == 6
    assert_each_paid_once(teacher, 6)


class Stop:
    """Ctrl-C while a batch is waited for."""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what.startswith("waiting for batches"):
            raise KeyboardInterrupt


def stopped(workspace: Workspace, teacher: LoopbackTeacher, **said: Any) -> None:
    """Leave a batch at the teacher that nobody follows."""
    teacher.batches.plans = [BatchPlan(looks=1)]
    with pytest.raises(StageCancelled):
        ask(workspace, teacher, show=Stop(), **said)


def test_asking_now_counts_a_living_batch_as_spent(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)
    stopped(workspace, teacher, limit=3)
    ((worst,),) = rows(workspace.database, "SELECT sum(worst_in + worst_out) FROM teacher_call")

    report = ask(workspace, teacher, mode="now", budget_tokens=worst + 10).report

    assert teacher.hits == 0 and "budget is used up" in report["paused"]


# --- stopped, killed, resumed ---


def test_a_batch_goes_on_while_nobody_follows_it(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path / "batch")
    stopped(workspace, teacher, limit=4)
    assert batch_states(workspace) == ["created"] and call_states(workspace) == Counter(sent=4)

    now = ask(workspace, teacher, mode="now").report

    assert (now["kept"], now["waiting"], teacher.hits) == (2, 4, 2), (
        "calls of the batch are asked nobody else"
    )
    assert "has not ended: 4" in now["paused"] and "--batch" in now["paused"]
    assert call_states(workspace) == Counter(sent=4, done=2), "and are not taken for lost"
    report = ask(workspace, teacher).report
    assert (report["kept"], report["tokens_lost"], report["calls"]) == (6, 0, 0)
    assert paths(teacher, "POST", "/v1/batches") == paths(teacher, "POST", "/v1/files") == 1
    assert_each_paid_once(teacher, 4)
    assert_as_undisturbed(workspace, teacher, tmp_path / "now")


def test_a_batch_is_fetched_by_whoever_asks_for_other_seeds(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)
    ids = [one.id for one in made_up_seeds(6)]
    stopped(workspace, teacher, ids=tuple(ids[:2]))

    ask(workspace, teacher, ids=tuple(ids[2:4]))

    assert {one[1] for one in samples(workspace)} == set(ids[:4])
    assert_each_paid_once(teacher, 4)


def test_another_generation_does_not_pay_for_what_a_batch_holds(
    teacher: LoopbackTeacher, tmp_path: Path
) -> None:
    workspace = workspace_at(tmp_path)
    stopped(workspace, teacher)

    other = ask(workspace, teacher, is_trial=True).report
    assert (other["waiting"], other["batches"]) == (6, []) and "has not ended: 6" in other["paused"]
    ask(workspace, teacher)
    other = ask(workspace, teacher, is_trial=True).report

    assert (other["kept"], other["calls"]) == (6, 0), "it takes the replies that are there now"
    assert_each_paid_once(teacher, 6)


# Where the process dies, what the teacher has by then, and how the batch is on record.
EDGES = {
    "teacher.answered:kill:2": ((3, 1), "uploaded"),  # it is created, and we do not know
    "teacher.answered:kill:5": ((3, 1), "created"),  # replies are kept, what was refused is not
}
MORE_EDGES = {
    "teacher.send:kill:1": ((0, 0), "written"),
    "teacher.answered:kill:1": ((1, 0), "written"),  # it is up, and we do not know
    "teacher.send:kill:2": ((1, 0), "uploaded"),
    "teacher.send:kill:3": ((3, 1), "created"),
    "teacher.answered:kill:4": ((3, 1), "created"),  # replies are here, and none is kept
}


@pytest.mark.parametrize(
    ("fault", "there", "state"),
    [
        *(pytest.param(fault, *there, id=fault) for fault, there in EDGES.items()),
        *(
            pytest.param(fault, *there, id=fault, marks=pytest.mark.faults)
            for fault, there in MORE_EDGES.items()
        ),
    ],
)
def test_a_kill_at_any_edge_makes_no_second_batch(
    teacher: LoopbackTeacher, tmp_path: Path, fault: str, there: tuple[int, int], state: str
) -> None:
    teacher.batches.plans = [BatchPlan(refused=1)]
    workspace = workspace_at(tmp_path / "batch")
    words = ["generate", "--batch", "--model", "loopback", "--base-url", teacher.base_url]
    died = run(tmp_path / "batch", *words, fault=fault)
    assert died.returncode == KILLED, died.stderr
    assert (len(teacher.batches.files), len(teacher.batches.made)) == there
    assert batch_states(workspace) == [state]
    left = call_states(workspace)
    assert left == (Counter(sent=1, done=5) if fault.endswith("answered:kill:5") else Counter(sent=6))

    report = ask(workspace, teacher).report

    assert len(teacher.batches.made) == 1, "no second batch for the same calls"
    assert_each_paid_once(teacher, 5)
    assert (report["kept"], report["failed"], report["waiting"]) == (5, {"refused_request": 1}, 0)
    assert report["tokens_lost"] == 0 and report["paused"] is None
    ends = ["dropped", "completed"] if state == "written" else ["completed"]
    assert batch_states(workspace) == ends
    lines = report["batches"][-1]["lines"]
    assert sum(lines.values()) == 6 and set(lines) <= {"done", "failed", "read_before"}


@pytest.mark.parametrize(
    "plan",
    [
        BatchPlan(breaks=True),
        BatchPlan(breaks=True, hidden_lists=1),
        BatchPlan(breaks=True, without_metadata=True),
    ],
    ids=["listed", "listed late", "known by its file alone"],
)
def test_a_batch_whose_creation_was_not_answered_is_found(
    teacher: LoopbackTeacher, tmp_path: Path, plan: BatchPlan
) -> None:
    teacher.batches.page = 1
    workspace = workspace_at(tmp_path, 8)
    teacher.batches.plans = [BatchPlan(), plan, BatchPlan(), BatchPlan()]

    report = ask(workspace, teacher, batch_size=2).report

    assert (report["kept"], len(teacher.batches.made)) == (8, 4)
    assert_each_paid_once(teacher, 8)


def test_a_creation_in_doubt_is_left_for_the_next_run(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    """The answer breaks off, and then the list cannot be had: the batch may be there or not."""
    workspace = workspace_at(tmp_path)
    teacher.batches.plans = [BatchPlan(breaks=True)]
    teacher.batch_faults = [None, None, unauthorised()]

    report = ask(workspace, teacher, key=CANARY).report

    assert "did not accept the key" in report["paused"] and report["waiting"] == 6
    assert batch_states(workspace) == ["uploaded"] and call_states(workspace) == Counter(sent=6)
    assert ask(workspace, teacher).report["kept"] == 6
    assert len(teacher.batches.made) == 1
    assert_each_paid_once(teacher, 6)


def test_a_creation_in_doubt_is_looked_for_at_every_try(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    """The answer breaks off, two lists do not show it, the next try must slow down; then a list does."""
    workspace = workspace_at(tmp_path)
    teacher.batches.plans = [BatchPlan(breaks=True, hidden_lists=2)]
    teacher.batch_faults = [None, None, None, None, rate_limited(0.02, "ms")]

    assert ask(workspace, teacher).report["kept"] == 6

    assert len(teacher.batches.made) == 1
    assert_each_paid_once(teacher, 6)


# --- the network, and teachers without a batch API ---


def test_trouble_on_the_way_is_waited_out(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path / "batch")
    teacher.batches.plans = [BatchPlan(looks=1)]
    teacher.batch_faults = [
        server_error(), None,  # the upload, twice
        rate_limited(0.02, "ms"), None,  # the creation: the teacher says that there is none
        server_error(502), None, None,  # looks
        cut_short(), None,  # the file, half of it
    ]  # fmt: skip

    report = ask(workspace, teacher).report

    assert (report["kept"], report["paused"], teacher.batch_faults) == (6, None, [])
    assert paths(teacher, "GET", "/v1/batches") == 0, "a creation that was refused leaves no doubt"
    assert_each_paid_once(teacher, 6)
    assert_as_undisturbed(workspace, teacher, tmp_path / "now")


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ([Fault("none", 404, "{}")], "knows no such"),
        ([None, Fault("none", 400, '{"error": {"message": "no batches here"}}')], "no batches here"),
        ([html_page()], "does not answer as a batch API does"),
        ([Fault("moved", 307, "", headers=(("Location", "http://127.0.0.1:1/v1/files"),))], "redirects"),
        ([unauthorised()], "did not accept the key"),
    ],
    ids=["no files", "no batches", "a page", "a redirect", "a wrong key"],
)
def test_a_teacher_without_a_batch_api_keeps_no_call(
    teacher: LoopbackTeacher, tmp_path: Path, faults: Sequence[Fault | None], told: str
) -> None:
    workspace = workspace_at(tmp_path)
    teacher.batch_faults = list(faults)

    report = ask(workspace, teacher, key=CANARY).report

    assert told in report["paused"] and batch_states(workspace) == ["refused"]
    assert (report["tokens"], report["waiting"]) == (0, 6) and not teacher.batches.made
    assert ask(workspace, teacher).report["kept"] == 6, "whoever asks next is free to ask them"
    assert_each_paid_once(teacher, 6)


def test_the_key_is_nowhere(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    """A teacher repeats the key in a refusal, and in lines of a batch; what begins alike may be code."""
    workspace = workspace_at(tmp_path)
    begun = CANARY[:10] + "x"
    teacher.reply = lambda body: in_sections(body) + f"\n# {CANARY} and {begun}"
    teacher.batch_faults = [None, None, unauthorised()]
    assert "did not accept" in ask(workspace, teacher, key=CANARY).report["paused"]
    assert batch_states(workspace) == ["created"], "it is there, and is taken up again"

    assert ask(workspace, teacher, key=CANARY).report["kept"] == 6

    assert {one.headers["authorization"] for one in teacher.requests} == {f"Bearer {CANARY}"}
    assert_each_paid_once(teacher, 6)
    workspace.database.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert stored and CANARY.encode() not in stored
    assert all(f"# [key] and {begun}" in one[3] for one in samples(Workspace(tmp_path)))


def test_nothing_of_the_environment_is_sent(
    teacher: LoopbackTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The openai client gives these to whatever endpoint it is made for."""
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {CANARY}\nX-Team: {CANARY}")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert ask(workspace_at(tmp_path), teacher).report["kept"] == 6

    for one in teacher.requests:
        assert CANARY not in str(dict(one.headers)) and "authorization" not in one.headers


def test_a_batch_that_is_gone_can_be_given_up(teacher: LoopbackTeacher, tmp_path: Path) -> None:
    workspace = workspace_at(tmp_path)
    stopped(workspace, teacher)
    teacher.batches.made.clear()
    gone = ask(workspace, teacher).report
    assert "batch_0" in gone["paused"] and gone["waiting"] == 6 and batch_states(workspace) == ["created"]

    report = ask(workspace, teacher, give_up_batches=True).report

    assert (report["kept"], batch_states(workspace)) == (6, ["given_up", "completed"])
    assert report["tokens_lost"] > 6 * 2_500, "nobody knows whether it was billed"


@pytest.mark.parametrize("said", [{"mode": "later"}, {"batch_size": 0}, {"batch_size": 50_001}, {"poll": -1}])
def test_what_cannot_be_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(WrongInput):
        Settings(model="m", **said)


# --- lines, one by one ---


def line(**said: Any) -> str:
    return json.dumps({"id": "r", "custom_id": "c", "response": None, "error": None, **said})


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (line(response={"status_code": 200, "body": {"choices": []}}), "failed", "bad_response"),
        (line(response={"status_code": 200, "body": "a text"}), "failed", "bad_response"),
        (line(response={"status_code": 429, "body": {}}), "later", "rate_limited"),
        (line(response={"status_code": 500, "body": None}), "later", "status_500"),
        (line(response={"status_code": 401, "body": {}}), "stop", "unauthorised"),
        (line(response={"status_code": "200", "body": {}}), "failed", "bad_response"),
        (line(response={"status_code": True}), "failed", "bad_response"),
        (line(error={"code": "batch_expired", "message": "m"}), "later", "batch_expired"),
        (line(error={"code": "what\never", "message": ["m"]}), "later", "batch_error"),
        (line(error={"code": "\ud800", "message": "\udfff"}), "later", "batch_error"),
        (line(error={}), "later", "batch_error"),
        (line(), "failed", "bad_response"),
    ],
)
def test_a_line_comes_to_one_outcome(text: str, kind: str, reason: str) -> None:
    read = read_line(text, lambda said, is_good: said)
    assert read is not None and (read[0], read[1].kind, read[1].reason) == ("c", kind, reason)
    assert read[1].message.encode(), "half a character cannot be stored"


@pytest.mark.parametrize("text", ["", "{", "null", "[1]", '{"custom_id": 3}', "{}", "[" * 100_000])
def test_a_line_that_names_no_call_is_none(text: str) -> None:
    assert read_line(text, lambda said, is_good: said) is None


def test_no_text_ends_a_request_line_early() -> None:
    said = [{"role": "user", "content": "a\nb\u2028c\u0085d\x0be é"}]
    call = call_of("http://x/v1", "m", "hash", said, {"max_tokens": 5, "seed": 976}, "0")
    written = request_line(call)
    assert written.count(b"\n") == 1 and len(written.decode("ascii").splitlines()) == 1
    read = json.loads(written)
    assert read["body"] == {"model": "m", "messages": said, "max_tokens": 5, "seed": 976}
    assert (read["custom_id"], read["url"]) == (call.id, "/v1/chat/completions")
