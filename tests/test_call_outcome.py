"""What an attempt comes to, and who pays for it: a table of statuses and bodies (faults.md F12-F21, F25)."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest

from curation.call_log import used_by
from curation.call_outcome import EXCERPT, LONGEST_WAIT, Outcome, outcome_of, retry_after
from curation.teacher import Call, call_of
from tests.loopback_teacher import (
    Fault,
    html_page,
    insufficient_quota,
    rate_limited,
    server_error,
    unauthorised,
)

CALL: Call = call_of(
    "http://127.0.0.1:1/v1", "m", "hash", [{"role": "user", "content": "x" * 100}], {"max_tokens": 50}, "0"
)
WORST = (CALL.worst_in, CALL.worst_out)
NOTHING, USAGE = (0, 0), {"prompt_tokens": 11, "completion_tokens": 7}
DEEP = "[" * 100_000


def completion(content: Any = "text", finish: Any = "stop", usage: Any = USAGE, **message: Any) -> str:
    said = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return json.dumps({"choices": [said], **({} if usage is None else {"usage": usage})})


def error(message: Any, **more: Any) -> str:
    return json.dumps({"error": {"message": message, **more}})


@dataclass(frozen=True)
class Case:
    """An answer, and what it means."""

    name: str
    status: int
    body: str
    kind: str
    reason: str = ""
    pays: tuple[int, int] = NOTHING  # tokens in and out that are counted
    says: str = ""  # stands in the message
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    is_limit: bool = False


def of(fault: Fault, kind: str, reason: str, says: str, **more: Any) -> Case:
    return Case(
        fault.name, fault.status, fault.body or "", kind, reason, says=says, content_type=fault.content_type,
        **more,
    )  # fmt: skip


USED = (11, 7)
CASES = [
    # 200 and a whole completion, however it ended: paid as it says, or by a bound where it says nothing
    Case("good", 200, completion(), "done", pays=USED),
    Case("cut off", 200, completion(finish="length"), "done", pays=USED),
    Case("filtered, without content", 200, completion(None, "content_filter"), "done", pays=USED),
    Case("refused", 200, completion(None, refusal="I will not"), "done", pays=USED),
    Case("empty", 200, completion(""), "done", pays=USED),
    Case("without an end", 200, completion(finish=None), "done", pays=USED),
    Case("without usage", 200, completion("ä" * 10, usage=None), "done", pays=(CALL.worst_in, 20)),
    Case(
        "usage of other types", 200, completion("ab", usage={"prompt_tokens": "9", "completion_tokens": -1}),
        "done", pays=(CALL.worst_in, 2),
    ),
    Case("usage of nothing", 200, completion("ab", usage={"prompt_tokens": 0, "completion_tokens": 0}),
         "done", pays=(CALL.worst_in, 2)),
    Case("usage of an empty reply", 200, completion("", usage={"prompt_tokens": 9, "completion_tokens": 0}),
         "done", pays=(9, 0)),
    Case("usage is a list", 200, completion("ab", usage=[1]), "done", pays=(CALL.worst_in, 2)),
    Case("longer than was allowed", 200, completion("a" * 99, usage=None), "done", pays=WORST),
    # 200 and no completion: paid when a model seems to have written it
    of(html_page(), "failed", "bad_response", "no JSON but text/html: <!DOCTYPE"),
    of(html_page("application/json"), "failed", "bad_response", "no JSON but application/json: <!DOCTYPE"),
    Case("nothing at all", 200, "", "failed", "bad_response", says="no content type", content_type=""),
    Case(
        "events nobody asked for", 200, 'data: {"choices": []}\n\n', "failed", "bad_response",
        says="no JSON but text/event-stream", content_type="text/event-stream; charset=utf-8",
    ),
    Case("cut in the middle", 200, completion()[:40], "failed", "bad_response", says="no JSON"),
    Case("nested too deep", 200, DEEP, "failed", "bad_response", says="no JSON"),
    Case("a number too long", 200, "9" * 5_000, "failed", "bad_response", says="no JSON"),
    Case("a list", 200, "[1, 2]", "failed", "bad_response", says="no choices: [1, 2]"),
    Case("null", 200, "null", "failed", "bad_response", says="no choices: null"),
    Case("an error with 200", 200, error("busy"), "failed", "bad_response", says="no choices"),
    Case("choices empty", 200, '{"choices": []}', "failed", "bad_response", says="no choices"),
    Case("choices null", 200, '{"choices": null}', "failed", "bad_response", says="no choices"),
    Case("choices of text", 200, '{"choices": ["a"]}', "failed", "bad_response", WORST, "no choices"),
    Case("a choice without message", 200, '{"choices": [{"text": "a"}]}', "failed", "bad_response", WORST,
         "no message"),
    Case("content null", 200, completion(None), "failed", "bad_response", USED, "content is NoneType"),
    Case("content null, no usage", 200, completion(None, usage=None), "failed", "bad_response", WORST),
    Case("content a list", 200, completion([{"text": "a"}]), "failed", "bad_response", USED, "is list"),
    Case("content a number", 200, completion(1), "failed", "bad_response", USED, "content is int, not text"),
    Case("only usage", 200, json.dumps({"usage": USAGE}), "failed", "bad_response", USED, "no choices"),
    # a place to look elsewhere
    Case("redirected", 307, "", "stop", "redirected", says="redirects to https://x.test/v1; nothing was",
         headers={"location": "https://x.test/v1"}),
    Case("redirected nowhere", 308, "", "stop", "redirected", says="another place"),
    # a person must do something
    of(insufficient_quota(), "stop", "no_quota", "quota is used up: You exceeded"),
    Case("quota by type", 429, error("more", type="insufficient_quota", code=None), "stop", "no_quota"),
    Case("billing off", 429, error("off", code="billing_not_active", type="requests"), "stop", "no_quota"),
    Case("pay first", 402, error("Insufficient credits"), "stop", "no_quota", says="Insufficient credits"),
    of(unauthorised(), "stop", "unauthorised", "did not accept the key (status 401)"),
    Case("not allowed", 403, error("region"), "stop", "unauthorised", says="not allow this (status 403)"),
    Case("no such model", 404, error("no model x"), "stop", "not_found", says="no model x"),
    # again later
    of(rate_limited(), "later", "rate_limited", "Rate limit reached", is_limit=True),
    Case("429 without a word", 429, "", "later", "rate_limited", says="no reason given", is_limit=True),
    *(of(server_error(s), "later", f"status_{s}", f"status {s}") for s in (500, 502, 503, 529)),
    *(Case(f"{s} gave up waiting", s, "", "later", f"status_{s}", WORST) for s in (408, 504, 524)),
    Case("conflict", 409, error("busy"), "later", "status_409", says="busy"),
    Case("503 as a page", 503, "<html>back soon</html>", "later", "status_503", says="<html>back soon"),
    # this call and no other
    Case("too long a prompt", 400, error("maximum context length"), "failed", "refused_request",
         says="status 400: maximum context length"),
    Case("error as text", 400, '{"error": "no such parameter"}', "failed", "refused_request",
         says="no such parameter"),
    Case("error null", 400, '{"error": null, "message": "why"}', "failed", "refused_request", says="why"),
    Case("FastAPI's words", 422, '{"detail": [{"loc": ["body"]}]}', "failed", "refused_request", says="loc"),
    Case("a list as error", 413, "[1]", "failed", "refused_request", says="status 413: [1]"),
]  # fmt: skip


def read(case: Case) -> Outcome:
    return outcome_of(case.status, case.headers, case.content_type, case.body)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_comes_to_one_outcome_with_a_reason_and_who_pays(case: Case) -> None:
    found = read(case)
    assert (found.kind, found.reason, found.is_limit) == (case.kind, case.reason, case.is_limit)
    assert used_by(CALL, found) == case.pays
    assert case.says in found.message
    assert (found.completion is not None) == (found.kind == "done")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_server_says_is_kept_whole_for_a_reply_and_cut_for_a_message(case: Case) -> None:
    found = read(case)
    if found.kind == "done" or found.reason == "bad_response":
        assert found.body == case.body  # as it came, not as we would write it
    assert len(found.message) <= EXCERPT + 100


def test_a_bad_response_keeps_its_first_200_characters_in_words() -> None:
    body = "<html>" + "x" * 1_000
    found = outcome_of(200, {}, "text/html", body)
    assert found.message.endswith(": " + body[:200]) and found.body == body


def test_what_a_completion_holds_is_read_out() -> None:
    body = json.loads(completion("words"))
    body["usage"]["prompt_tokens_details"] = {"cached_tokens": 4}
    said = outcome_of(200, {}, "", json.dumps(body)).completion
    assert said is not None
    assert (said.content, said.finish_reason, said.refusal) == ("words", "stop", None)
    assert (said.tokens_in, said.tokens_out, said.tokens_cached) == (11, 7, 4)


@pytest.mark.parametrize("details", [None, [], {"cached_tokens": "4"}, {"cached_tokens": -4}, {}])
def test_cached_tokens_of_other_kinds_are_none(details: Any) -> None:
    body = json.loads(completion())
    body["usage"]["prompt_tokens_details"] = details
    said = outcome_of(200, {}, "", json.dumps(body)).completion
    assert said is not None and said.tokens_cached == 0


HALF = "\\ud800"  # as JSON writes half a character, which UTF-8 cannot hold


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, f'{{"error": {{"message": "{HALF}"}}}}'),
        (400, f'["{HALF}"]'),
        (500, f'"{HALF}"'),
        (401, f'{{"error": "{HALF}"}}'),
        (200, f'{{"choices": [{{"message": {{"content": "a"}}, "finish_reason": "{HALF}"}}]}}'),
        (200, f'{{"choices": [{{"message": {{"content": "{HALF}"}}, "finish_reason": "stop"}}]}}'),
        (200, f'{{"choices": [{{"message": {{"content": "", "refusal": "{HALF}"}}}}]}}'),
        (200, "\ud800"),
    ],
)
def test_half_characters_of_a_server_can_be_stored_and_shown(status: int, body: str) -> None:
    """A commit would raise UnicodeEncodeError and end the run; so would the list of replies."""
    found = outcome_of(status, {}, "", body)
    found.message.encode()
    if (said := found.completion) is not None:
        "".join(filter(None, (said.content, said.refusal, said.finish_reason))).encode()
    outcome_of(307, {"location": "https://x.test/\ud800"}, "", "").message.encode()


def test_a_finish_reason_of_a_megabyte_is_cut() -> None:
    said = outcome_of(200, {}, "", completion(finish="x" * 1_000_000)).completion
    assert said is not None and said.finish_reason == "x" * 40


@pytest.mark.parametrize("status", [200, 400, 429])
@pytest.mark.parametrize(
    "form",
    ["%s", '{"error": %s}', '{"error": {"message": %s}}', '{"choices": [{"message": {"content": %s}}]}'],
)
def test_no_depth_of_nesting_raises(status: int, form: str) -> None:
    """Reading may just succeed where writing the same value again does not."""
    for depth in range(900, 1_010):
        assert outcome_of(status, {}, "", form % ("[" * depth + "]" * depth)).kind in ("failed", "later")


# --- Retry-After ---

NOON = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "99999999999"}, LONGEST_WAIT),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),  # the form that HTTP prefers
        ({"retry-after": "Tuesday, 14-Nov-23 22:13:50 GMT"}, 30.0),  # RFC 850
        ({"retry-after": "Tue Nov 14 22:13:50 2023"}, 30.0),  # asctime, in UTC though it does not say so
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 -0000"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 23:13:50 +0100"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),  # gone by
        ({"retry-after": "Fri, 14 Nov 2098 22:13:50 GMT"}, LONGEST_WAIT),
        ({"retry-after": "Tue, 99 Nov 2023 22:13:50 GMT"}, None),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_every_form_of_retry_after_is_read(
    headers: Mapping[str, str], seconds: float | None, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)  # a date without a zone must not become this machine's time
    time.tzset()
    try:
        assert retry_after(headers, NOON) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_wait_is_told_with_the_outcome_of_a_limit_and_of_a_broken_server() -> None:
    for status in (429, 500, 503):
        assert outcome_of(status, {"retry-after": "8"}, "", "").wait == 8.0
    at = formatdate(time.time() + 100, usegmt=True)
    wait = outcome_of(429, {"retry-after": at}, "", "").wait
    assert wait is not None and 90 < wait <= 100
