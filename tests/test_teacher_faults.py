"""What comes of a generation with a faulty teacher: faults F12-F20, F25 and F26. For each what becomes of the
item, the reason that is told, the requests that the server counts and what may have been billed."""

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psutil
import pytest

from curation.call_round import ATTEMPTS, BAD_IN_A_ROW
from curation.errors import SourceUnavailable, StageCancelled
from curation.generate import generate
from curation.status import status
from curation.store.calls import unpack
from tests.generating import QUICK, Generating
from tests.loopback_teacher import (
    EVERY_FAULT,
    Fault,
    content,
    cut_short,
    drip,
    finished,
    hang,
    html_page,
    insufficient_quota,
    json_body,
    loopback_teacher,
    rate_limited,
    redirect,
    refusal,
    reset,
    server_error,
    stream_without_done,
    unauthorised,
    without,
)
from tests.made_up_seeds import in_sections

KEY = "sk-canary-5f3a9c7e1b2d4f6a8c0e"
SEEDS = 4


def deadline_for(fault: Fault) -> float:
    """Wait shortly for what never comes, and long for the rest: a busy machine must not look like a fault."""
    return 0.4 if fault.way in ("hang", "drip") else 20.0


@dataclass(frozen=True)
class Comes:
    """What comes of the call that a fault hits once, on its first arrival."""

    state: str  # of its item
    reason: str | None = None
    hits: int = SEEDS
    may_be_billed: bool = False
    pauses: str | None = None  # how the message begins
    is_guessed: bool = False


AGAIN = Comes("kept", hits=SEEDS + 1)
BROKEN = replace(AGAIN, may_be_billed=True)
BAD = Comes("failed", "bad_response")
EXPECTED: dict[str, Comes] = {
    "rate_limited_seconds": AGAIN,
    "rate_limited_date": AGAIN,
    "rate_limited_ms": AGAIN,
    "insufficient_quota": Comes("waiting", None, 1, pauses="The teacher's quota is used up: You exceeded"),
    "status_500": AGAIN,
    "status_502": AGAIN,
    "status_503": AGAIN,
    "status_529": AGAIN,
    "unauthorised": Comes("waiting", None, 1, pauses="The teacher did not accept the key (status 401): "),
    "html_as_html": BAD,
    "html_as_json": BAD,
    "without_choices": BAD,
    "without_usage": Comes("kept", is_guessed=True),
    "content_NoneType": BAD,
    "content_list": BAD,
    "refusal": Comes("rejected", "refusal"),
    "finished_length": Comes("rejected", "cut_off"),
    "finished_content_filter": Comes("rejected", "content_filter"),
    "hang": BROKEN,
    "drip": BROKEN,
    "cut_short": BROKEN,
    "reset": BROKEN,
    "stream_without_done": Comes("kept"),  # replies come whole, not as a stream
}


def test_the_table_names_every_fault() -> None:
    assert {one.name for one in EVERY_FAULT} == set(EXPECTED)


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=lambda one: f"{one.name}-{one.retry_after}")
def test_each_fault_of_the_teacher_comes_to_what_is_listed(fault: Fault, generating: Generating) -> None:
    comes = EXPECTED[fault.name]
    generating.teacher.faults = [fault]
    report = generating.ask(KEY, limit=SEEDS, deadline=deadline_for(fault)).report

    hit, *others = generating.items(report["generation"])
    assert (hit.state, hit.reason) == (comes.state, comes.reason)
    assert generating.teacher.hits == comes.hits
    assert (report["paused"] or "").startswith(comes.pauses or "") and bool(report["paused"]) == bool(
        comes.pauses
    )
    assert {one.state for one in others} == ({"waiting"} if comes.pauses else {"kept"})
    call = generating.call(hit.call_id)
    assert (call.lost_in + call.lost_out > 0) == comes.may_be_billed
    assert (call.lost_in + call.lost_out) in (0, call.worst_in + call.worst_out)
    assert call.is_guessed == comes.is_guessed
    assert KEY not in str(report) + str([tuple(one) for one in generating.items(report["generation"])])

    # The same command goes on: what waited is asked, what is final is not.
    generating.teacher.faults = ()
    again = generating.ask(KEY, limit=SEEDS, deadline=deadline_for(fault)).report
    assert again["waiting"] == 0 and again["paused"] is None
    assert again["calls"] == (SEEDS if comes.pauses else 0)
    assert again["kept"] == SEEDS - (comes.state in ("failed", "rejected"))


def test_a_run_full_of_faults_ends_as_one_without_but_for_what_cannot_be_kept(generating: Generating) -> None:
    """All of them, once each and together, through the process that asks."""
    fatal = ("insufficient_quota", "unauthorised")
    faults = [one for one in EVERY_FAULT if one.name not in fatal]
    hit: dict[str, Fault] = {}

    def plan(index: int, name: str) -> Fault | None:
        """Each of the first prompts meets one fault, when it arrives first."""
        if name in hit or len(hit) == len(faults):
            return None
        hit[name] = faults[len(hit)]
        return hit[name]

    generating.teacher.faults = plan
    settings = generating.settings(concurrency=8, deadline=2.0)
    report = generate(generating.workspace, settings, KEY).report
    generating.check(report)
    wanted = Counter(EXPECTED[one.name].reason for one in faults if EXPECTED[one.name].state != "kept")
    assert Counter(report["failed"]) + Counter(report["rejected"]) == wanted
    assert report["kept"] == 60 - wanted.total()
    assert len({one.id for one in generating.samples()}) == report["kept"]
    repeated = sum(EXPECTED[one.name].hits > SEEDS for one in faults)
    assert generating.teacher.hits == 60 + repeated


# --- F12: too fast ---


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_wait_of_an_hour_parks_the_run_which_ctrl_c_ends(form: Any, generating: Generating) -> None:
    generating.teacher.faults = lambda index, name: rate_limited(3_600, form)
    shown = []

    def stop_when_told(what: str, done: int, total: int) -> None:
        shown.append(what)
        if what.startswith("waiting"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StageCancelled):
        generating.ask(concurrency=3, limit=20, show=stop_when_told)
    assert next(one for one in shown if one.startswith("waiting")) in (
        "waiting 3,600 s, as the teacher asked", "waiting 3,599 s, as the teacher asked",
    )  # fmt: skip
    assert generating.teacher.hits <= 3  # what flew; nothing was sent after the first answer
    generating.check_store()
    generating.teacher.faults = ()
    assert generating.ask(concurrency=3, limit=20).report["kept"] == 20


def test_a_parked_run_sleeps(generating: Generating) -> None:
    """A call that would be due meanwhile does not make it look at the clock two hundred times a second."""
    generating.teacher.faults = [server_error(), rate_limited(3_600)]
    waiting: list[str] = []

    def stop_soon(what: str, done: int, total: int) -> None:
        if what.startswith("waiting"):
            # Only now, when the run listens for it: what Python raises before may fall into a callback of a
            # weak reference, which ignores it.
            if not waiting:
                threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            waiting.append(what)

    with pytest.raises(StageCancelled):
        generating.ask(limit=5, show=stop_soon)
    assert 1 <= len(waiting) <= 5


def test_an_asked_wait_is_kept_by_all_calls(generating: Generating) -> None:
    generating.teacher.faults = [rate_limited(0.4)]
    generating.ask(limit=6)
    first, second = generating.teacher.completions[:2]
    assert second.at - first.at >= 0.4


def test_a_teacher_that_takes_few_at_once_is_asked_few_at_once(generating: Generating) -> None:
    """It answers 429 to more than 6 at once: nothing is lost, and complaints become rare."""
    server = generating.teacher
    server.delay = 0.02
    server.faults = lambda index, name: rate_limited(0.05, "ms") if server.in_flight > 6 else None
    report = generating.ask(concurrency=32).report
    assert (report["kept"], report["waiting"]) == (60, 0)
    complaints = [one.index for one in server.completions if one.fault is not None]
    assert complaints and server.hits - len(complaints) == 60
    assert report["tokens"] == server.billed  # a 429 costs nothing


def test_too_fast_never_uses_up_the_attempts_of_a_call(generating: Generating) -> None:
    generating.teacher.faults = [rate_limited(0.0)] * (3 * ATTEMPTS)
    report = generating.ask(limit=1).report
    assert (report["kept"], generating.teacher.hits) == (1, 3 * ATTEMPTS + 1)


def test_calls_that_are_refused_for_good_hold_up_no_other_and_the_run_ends(generating: Generating) -> None:
    """A prompt above what an account may send in a minute: two of 12 met 429 for ever, and nothing else was
    asked, for each time all waited the second that was asked for and the same two came first again."""
    poison: list[str] = []
    answered: list[int] = []

    def plan(index: int, name: str) -> Fault | None:
        if len(poison) < 2 and name not in poison:
            poison.append(name)
        if name in poison and index < 400:  # else the old way would never end
            return rate_limited(0.05, "ms")
        answered.append(index)
        return None

    generating.teacher.faults = plan
    report = generating.ask(limit=12, limits=replace(QUICK, patience=0.6)).report
    assert (report["kept"], report["waiting"], report["failed"]) == (10, 2, {})
    assert report["paused"].endswith("Rate limit reached")
    assert answered[-1] < 60  # all others came in between
    assert generating.teacher.hits < 100
    generating.teacher.faults = ()
    assert generating.ask(limit=12).report["kept"] == 12


@pytest.mark.parametrize("said", ["0", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_of_nothing_is_none_and_ends_the_patience(
    said: str, status: int, generating: Generating
) -> None:
    """It was obeyed: thousands of requests a second, and for ever, as time that was asked for."""
    generating.teacher.faults = lambda index, name: Fault("now", status, "", headers=(("Retry-After", said),))
    limits = replace(QUICK, first_wait=0.4, patience=1.0, attempts=100)
    report = generating.ask(limit=1, limits=limits).report
    assert report["waiting"] == 1
    assert report["paused"].startswith("The teacher did not answer for ")
    assert 2 <= generating.teacher.hits <= 12  # 0.2 s between two of them at least


# --- F13, F25: a person must do something ---


@pytest.mark.parametrize("fault", [insufficient_quota(), unauthorised()], ids=lambda one: one.name)
def test_a_used_up_quota_or_a_revoked_key_stops_the_spending_at_once(
    fault: Fault, generating: Generating
) -> None:
    server, at_once = generating.teacher, 8
    server.delay = 0.02
    server.faults = lambda index, name: fault if index >= 20 else None
    report = generating.ask(KEY, concurrency=at_once).report

    after_first = server.hits - 1 - min(one.index or 0 for one in server.completions if one.fault)
    assert after_first <= at_once
    assert report["paused"] and KEY not in report["paused"] and "canary" not in report["paused"]
    assert report["kept"] == 20 and report["waiting"] == 40
    assert (report["failed"], report["rejected"]) == ({}, {})
    server.faults = ()
    last = generating.ask(KEY, concurrency=at_once).report
    assert (last["kept"], last["paused"]) == (60, None)
    answered = Counter(one.prompt_hash for one in server.completions if one.fault is None)
    assert set(answered.values()) == {1}  # nothing that was answered is asked again


def test_a_redirect_carries_nothing_anywhere(generating: Generating) -> None:
    """S29."""
    with loopback_teacher(in_sections) as second:
        generating.teacher.faults = [redirect(second.base_url)]
        report = generating.ask(KEY, limit=3).report
        assert second.requests == []
    assert report["paused"] == (
        f"The endpoint redirects to {second.base_url}/chat/completions; nothing was sent there. "
        "Give that address yourself if you trust it"
    )
    assert (report["waiting"], generating.teacher.hits) == (3, 1)


def test_an_endpoint_that_knows_no_such_model_pauses(generating: Generating) -> None:
    unknown = Fault("no_model", 404, '{"error": {"message": "The model `x` does not exist"}}')
    generating.teacher.faults = lambda index, name: unknown
    report = generating.ask(limit=3).report
    assert report["paused"] == "The endpoint knows no such model or address: The model `x` does not exist"
    assert (report["waiting"], generating.teacher.hits) == (3, 1)


# --- F14: errors of the server ---


HASTY = replace(QUICK, first_wait=0.0001, patience=60.0)


class Outage:
    """A plan in which every call meets an error until so many were met."""

    def __init__(self, length: int) -> None:
        self.left = length

    def __call__(self, index: int, name: str) -> Fault | None:
        self.left -= 1
        return server_error((500, 502, 503, 529)[index % 4]) if self.left >= 0 else None


def test_everything_is_asked_for_after_an_outage_and_retries_have_a_cap(generating: Generating) -> None:
    generating.teacher.faults = Outage(40)
    report = generating.ask(concurrency=8, limit=30, limits=HASTY).report
    assert (report["kept"], report["failed"], generating.teacher.hits) == (30, {}, 70)
    assert max(Counter(one.prompt_hash for one in generating.teacher.completions).values()) <= ATTEMPTS


def test_a_lone_call_outlasts_an_outage(generating: Generating) -> None:
    """More errors than a call has attempts; nobody else was answered meanwhile, so they are not its own."""
    generating.teacher.faults = Outage(2 * ATTEMPTS)
    report = generating.ask(limit=1, limits=HASTY).report
    assert (report["kept"], generating.teacher.hits) == (1, 2 * ATTEMPTS + 1)


def poisoned(generating: Generating, fault: Fault, **given: Any) -> dict[str, Any]:
    """Ask about 12 seeds, of which the third always meets a fault."""
    poison: list[str] = []

    def plan(index: int, name: str) -> Fault | None:
        if index == 2:
            poison.append(name)
        return fault if name in poison else None

    generating.teacher.faults = plan
    return generating.ask(limit=12, limits=replace(HASTY, attempts=3), **given).report


def given_up(generating: Generating, report: dict[str, Any]) -> Any:
    """Give the one item that failed."""
    found = [one for one in generating.items(report["generation"]) if one.state == "failed"]
    assert len(found) == 1
    return found[0]


def test_a_call_that_always_meets_an_error_is_given_up_and_the_run_ends(generating: Generating) -> None:
    report = poisoned(generating, server_error())
    assert (report["kept"], report["failed"], report["paused"]) == (11, {"gave_up_status_500": 1}, None)
    assert generating.teacher.hits == 11 + 3
    item = given_up(generating, report)
    assert item.evidence["said"] == "gave up after 3 attempts: status 500"
    assert generating.call(item.call_id).attempts == 3
    generating.teacher.faults = ()
    assert generating.ask(limit=12).report["calls"] == 0
    assert generating.ask(limit=12, retry_failed=True).report["kept"] == 12


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (hang(), "deadline"),  # F15
        (drip(0.05), "deadline"),  # F16: bytes keep coming, so that no read ever times out
        (cut_short(), "broken_off"),  # F17
        (reset(), "broken_off"),
    ],
    ids=lambda one: one.name if isinstance(one, Fault) else one,
)
def test_a_call_that_never_comes_back_is_given_up_and_counts_as_billed(
    fault: Fault, reason: str, generating: Generating
) -> None:
    """Each attempt may be billed; its slot is free for others meanwhile, and no half sample is left."""
    report = poisoned(generating, fault, concurrency=2, deadline=deadline_for(fault))
    assert (report["kept"], report["failed"]) == (11, {f"gave_up_{reason}": 1})
    call = generating.call(given_up(generating, report).call_id)
    assert (call.lost_in, call.lost_out) == (3 * call.worst_in, 3 * call.worst_out)
    assert report["tokens_lost"] == 3 * (call.worst_in + call.worst_out)
    assert len(generating.samples()) == 11


def test_a_budget_is_not_passed_by_replies_that_never_came(generating: Generating) -> None:
    """Each of them may have been billed, so each takes its worst case out of the budget."""
    generating.teacher.faults = lambda index, name: cut_short()
    one = 60 + 2_100  # tokens of an answer, and more than the bytes of a prompt
    report = generating.ask(limit=20, budget_tokens=5 * one, max_tokens=60).report
    assert report["paused"].startswith("The budget is used up")
    assert generating.teacher.billed <= report["tokens"] <= 5 * one
    assert 3 <= generating.teacher.hits <= 6


# --- F18, F19: no completion at all ---

BODIES: dict[str, Fault] = {
    "a page": html_page(),
    "a page that calls itself JSON": html_page("application/json"),
    "events": Fault("events", 200, 'data: {"choices": []}\n\ndata: [DONE]\n\n', "text/event-stream"),
    "nothing": Fault("nothing", 200, ""),
    "half of a completion": Fault("half", 200, '{"choices": [{"message": {"content": "[Problem'),
    "no choices": without("choices"),
    "an empty list": json_body([]),
    "a number": json_body(17),
    "choices of null": json_body({"choices": [None]}),
    "no message": json_body({"choices": [{"text": "old form"}]}),
    "a message that is text": json_body({"choices": [{"message": "hello"}]}),
    "null content": content(None),
    "list content": content([{"type": "text", "text": "a list"}]),
    "content that is true": content(True),
    "an error": json_body({"error": {"message": "overloaded"}}),
    "nested": Fault("nested", 200, "[" * 5_000),
    "half a character": Fault("surrogate", 200, '{"choices": "\\ud800", "x": "\\u0000"}'),
    "two megabytes": Fault("long", 200, json.dumps({"choices": "x" * (2 << 20)})),
    "not the bytes it promises": Fault(
        "gzip", 200, json.dumps({"id": 1}), headers=(("Content-Type", "application/json; charset=x-none"),)
    ),
}  # fmt: skip


def test_what_is_no_completion_is_kept_as_bad_response_and_the_run_goes_on(generating: Generating) -> None:
    faults = list(BODIES.values())
    generating.teacher.faults = [None, *faults]  # after a first good reply
    report = generating.ask(limit=len(faults) + 2).report
    assert (report["kept"], report["failed"], report["paused"]) == (2, {"bad_response": len(faults)}, None)
    assert generating.teacher.hits == len(faults) + 2  # none is asked twice
    for fault, item in zip(faults, generating.items(report["generation"])[1:], strict=False):
        call = generating.call(item.call_id)
        assert call.state == "failed" and item.evidence["said"] == call.message
        assert len(call.message) < 300
        if fault.body is not None and fault.name != "long":
            assert unpack(call.reply) == fault.body  # as it came
            assert fault.body[:200] in call.message
    generating.teacher.faults = ()
    assert generating.ask(limit=len(faults) + 2).report["calls"] == 0
    again = generating.ask(limit=len(faults) + 2, retry_failed=True).report
    assert (again["kept"], again["failed"]) == (len(faults) + 2, {})


def test_a_place_that_never_gave_a_usable_reply_is_left_alone(generating: Generating) -> None:
    """A captive portal answers everything; 60 items must not fail for it."""
    generating.teacher.faults = lambda index, name: html_page()
    report = generating.ask().report
    assert report["failed"] == {"bad_response": BAD_IN_A_ROW} and report["waiting"] == 60 - BAD_IN_A_ROW
    assert report["paused"].startswith(
        "None of the first 10 replies could be used: no JSON but text/html: <!D"
    )


@pytest.mark.parametrize("said", ["\\ud800", "a\\u0000b", "x" * 100_000], ids=["half", "nul", "long"])
def test_words_of_a_server_that_no_database_takes_end_no_run(said: str, generating: Generating) -> None:
    generating.teacher.faults = [
        Fault("words", 400, f'{{"error": {{"message": "{said}"}}}}'),
        Fault("words", 200, completion_of(f'"{said}"', '"stop"')),
        Fault("words", 200, completion_of('"text"', f'"{said}"')),
        Fault("words", 200, completion_of("null", '"stop"', f', "refusal": "{said}"')),
    ]
    report = generating.ask(limit=5, repair=False).report
    assert report["kept"] == 1 and report["waiting"] == 0 and report["failed"] == {"refused_request": 1}
    assert sum(report["rejected"].values()) == 3 and report["rejected"]["refusal"] == 1


def completion_of(said: str, finish: str, more: str = "") -> str:
    return f'{{"choices": [{{"message": {{"content": {said}{more}}}, "finish_reason": {finish}}}]}}'


# --- F20: completions that did not end by themselves ---


def test_each_way_to_end_is_a_reason_of_its_own(generating: Generating) -> None:
    generating.teacher.faults = [
        finished("length"), finished("content_filter"), refusal("no"), finished("tool_calls"),
        Fault("no_finish", 200, completion_of(json.dumps(in_sections({"messages": 1})), "null")),
        stream_without_done(),
    ]  # fmt: skip
    report = generating.ask(limit=6).report
    assert report["rejected"] == {
        "cut_off": 1, "content_filter": 1, "refusal": 1, "other_finish_reason": 1, "no_finish_reason": 1,
    }  # fmt: skip
    assert (report["kept"], generating.teacher.hits) == (1, 6)  # none is worth a second request
    items = generating.items(report["generation"])
    assert items[0].evidence["finish_reason"] == "length" and items[2].evidence == {"said": "no"}


# --- F26: nobody there ---


def test_a_teacher_that_is_away_pauses_the_run_and_everything_else_works(generating: Generating) -> None:
    port = generating.teacher.port
    generating.teacher.close()
    impatient = replace(QUICK, patience=0.3, attempts=2)
    report = generating.ask(concurrency=4, limit=10, limits=impatient).report
    assert re.match(r"The teacher did not answer for \d s: ConnectError", report["paused"])
    assert (report["waiting"], report["failed"], report["tokens"]) == (10, {}, 0)  # nobody gave up, or paid
    assert status(generating.workspace)["stages"] is not None
    with loopback_teacher(in_sections, port=port) as back:
        there = Generating(generating.workspace, back)
        assert there.ask(concurrency=4, limit=10).report["kept"] == 10


def test_an_address_at_which_nobody_ever_answered_is_told_long_before_the_patience_ends(
    generating: Generating,
) -> None:
    """A mistyped port: ten minutes went by without a word."""
    limits = replace(QUICK, patience=3.0, first_patience=0.3)
    generating.teacher.faults = lambda index, name: server_error() if index == 0 else None
    generating.ask(limit=1, limits=limits)
    generating.teacher.close()
    report = generating.ask(limit=4, limits=limits).report
    assert re.match(r"Nobody answers at the teacher's address \(ConnectError.*Look at it", report["paused"])
    assert (report["kept"], report["waiting"], report["failed"], report["tokens_lost"]) == (1, 3, {}, 0)


def test_one_who_answered_and_went_away_gets_the_whole_patience(generating: Generating) -> None:
    def plan(index: int, name: str) -> Fault | None:
        if index == 1:
            threading.Thread(target=generating.teacher.close).start()
            return hang()
        return None

    generating.teacher.faults = plan
    limits = replace(QUICK, patience=0.6, first_patience=0.1, attempts=100)
    report = generating.ask(limit=4, limits=limits).report
    assert report["paused"].startswith("The teacher did not answer for ")
    assert report["kept"] == 1


def test_a_name_that_does_not_resolve_is_told_at_once(generating: Generating) -> None:
    with pytest.raises(SourceUnavailable, match=r"no-such-host\.invalid cannot be"):
        generating.ask(limit=2, base_url="http://no-such-host.invalid/v1")


# --- the process that asks ---


@contextmanager
def killed_when(generating: Generating, hits: int) -> Iterator[None]:
    """Kill the process that asks for this one when the server was asked so often."""

    def wait_and_kill() -> None:
        while generating.teacher.hits < hits and not done.wait(0.01):
            pass
        for one in psutil.Process().children():
            with suppress(psutil.Error):
                if "curation.teacher_process" in one.cmdline():
                    one.kill()

    done = threading.Event()
    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_when_the_process_that_asks_dies_the_run_says_so_and_goes_on_later(generating: Generating) -> None:
    generating.teacher.delay = 0.1
    settings = generating.settings(concurrency=4, limit=20)
    died = "The process that asks the teacher died; nothing that was answered is lost"
    with killed_when(generating, hits=6), pytest.raises(SourceUnavailable, match=died):
        generate(generating.workspace, settings, None)
    kept = {one.id for one in generating.samples()}
    report = generate(generating.workspace, settings, None).report
    generating.check(report)
    assert (report["kept"], report["waiting"]) == (20, 0)
    assert kept <= {one.id for one in generating.samples()}
    assert generating.teacher.hits <= 20 + 4  # what flew when it died
    assert report["tokens_lost"] > 0
