"""The loopback teacher does to the real openai client what faulty endpoints do to it.

The table is the one of the faults list ("openai-python against a faulty loopback server").
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from tests.loopback_teacher import (
    EVERY_FAULT,
    Fault,
    LoopbackTeacher,
    SeededFaults,
    content,
    cut_short,
    default_reply,
    drip,
    finished,
    hang,
    html_page,
    insufficient_quota,
    json_body,
    loopback_teacher,
    prompt_hash,
    rate_limited,
    redirect,
    refusal,
    reset,
    server_error,
    stream_without_done,
    unauthorised,
    without,
)

KEY = "sk-canary-0123456789"
MESSAGES: Any = [{"role": "user", "content": "Write a function that adds two numbers."}]
ANSWER = default_reply({"messages": MESSAGES})


def client(server: LoopbackTeacher, retries: int = 2, timeout: float = 5.0, **http: Any) -> OpenAI:
    return OpenAI(
        base_url=server.base_url,
        api_key=KEY,
        max_retries=retries,
        timeout=timeout,
        http_client=DefaultHttpxClient(trust_env=False, **http),
    )


def ask(server: LoopbackTeacher, **options: Any) -> Any:
    with client(server, **options) as teacher:
        return teacher.chat.completions.create(model="m", messages=MESSAGES)


@dataclass(frozen=True)
class Case:
    """A plan of faults and what the client makes of it."""

    name: str
    faults: tuple[Fault, ...]
    hits: int  # requests that reach the server
    error: type[Exception] | None = None
    check: Callable[[Any], bool] | None = None  # None: any such error, or the good answer
    retries: int = 2
    timeout: float = 5.0
    at_least: float = 0.0  # seconds
    at_most: float = 20.0


def is_expected(outcome: Any) -> bool:
    return isinstance(outcome, Exception) or outcome.choices[0].message.content == ANSWER


def says(text: str) -> Callable[[Any], bool]:
    return lambda error: text in str(error)


def of_status(status: int) -> Callable[[Any], bool]:
    return lambda error: error.status_code == status


CASES = [
    Case("429 Retry-After seconds, twice", (rate_limited(0.2),) * 2, hits=3, at_least=0.4),
    Case("429 Retry-After date", (rate_limited(2, "date"),), hits=2, at_least=0.5),
    Case("429 retry-after-ms", (rate_limited(0.3, "ms"),), hits=2, at_least=0.3),
    Case("429 without Retry-After", (rate_limited(),), hits=2, at_least=0.3),
    Case("429 Retry-After 3600", (rate_limited(3600),) * 3, 1, openai.RateLimitError, at_most=5),
    Case(
        "insufficient_quota is retried like any 429",
        (insufficient_quota(),) * 3,
        hits=3,
        error=openai.RateLimitError,
        check=lambda error: error.code == "insufficient_quota",
    ),
    Case("500 twice, then well", (server_error(),) * 2, hits=3),
    *(
        Case(
            f"{status} always",
            (server_error(status),) * 2,
            hits=2,
            error=openai.InternalServerError,
            check=of_status(status),
            retries=1,
        )
        for status in (500, 502, 503, 529)
    ),
    Case("HTML with 200 gives a str", (html_page(),), hits=1, check=lambda result: isinstance(result, str)),
    Case(
        "HTML that calls itself JSON",
        (html_page("application/json"),),
        hits=1,
        error=json.JSONDecodeError,
        check=lambda error: not isinstance(error, openai.OpenAIError),
    ),
    Case("no choices", (without("choices"),), hits=1, check=lambda result: result.choices is None),
    Case("no usage", (without("usage"),), hits=1, check=lambda result: result.usage is None),
    Case("JSON of another kind", (json_body({"ok": True}),), hits=1, check=lambda r: r.choices is None),
    Case("null content", (content(None),), hits=1, check=lambda r: r.choices[0].message.content is None),
    Case("list content", (content(["a"]),), hits=1, check=lambda r: r.choices[0].message.content == ["a"]),
    Case(
        "refusal",
        (refusal("no"),),
        hits=1,
        check=lambda r: (r.choices[0].message.content, r.choices[0].message.refusal) == (None, "no"),
    ),
    *(
        Case(
            f"finish_reason {reason} is a normal object",
            (finished(reason),),
            hits=1,
            check=lambda r, reason=reason: r.choices[0].finish_reason == reason,
        )
        for reason in ("length", "content_filter")
    ),
    Case("body cut short, then well", (cut_short(),), hits=2),
    Case("body always cut short", (cut_short(),) * 2, 2, openai.APIConnectionError, retries=1),
    Case("connection reset, then well", (reset(),), hits=2),
    Case("connection always reset", (reset(),) * 2, 2, openai.APIConnectionError, retries=1),
    Case(
        "hang",
        (hang(),) * 2,
        hits=2,
        error=openai.APITimeoutError,
        retries=1,
        timeout=0.5,
        at_least=1.0,
    ),
    Case("slow drip outlasts the read timeout", (drip(0.002),), hits=1, timeout=0.5, at_least=0.9),
    Case("401 repeats the key", (unauthorised(),), 1, openai.AuthenticationError, says(KEY)),
]


def judge(case: Case, server: LoopbackTeacher, outcome: Any, seconds: float) -> list[str]:
    """Name what differs from the table."""
    wrong = []
    if (case.error is not None) != isinstance(outcome, Exception):
        wrong.append(f"outcome {outcome!r}")
    elif case.error is not None and not isinstance(outcome, case.error):
        wrong.append(f"error {outcome!r}")
    elif not (case.check or is_expected)(outcome):
        wrong.append(f"content of {outcome!r}")
    if server.hits != case.hits:
        wrong.append(f"{server.hits} hits, not {case.hits}")
    if not case.at_least <= seconds <= case.at_most:
        wrong.append(f"{seconds:.2f} s, not {case.at_least} to {case.at_most}")
    return wrong


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_fault_does_to_the_client_what_the_table_says(case: Case) -> None:
    with loopback_teacher(faults=case.faults) as server:
        start = time.monotonic()
        try:
            outcome = ask(server, retries=case.retries, timeout=case.timeout)
        except Exception as error:
            outcome = error
        assert judge(case, server, outcome, time.monotonic() - start) == []


async def _async_outcome(case: Case) -> list[str]:
    with loopback_teacher(faults=case.faults) as server:
        start = time.monotonic()
        async with AsyncOpenAI(
            base_url=server.base_url,
            api_key=KEY,
            max_retries=case.retries,
            timeout=case.timeout,
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as teacher:
            try:
                outcome: Any = await teacher.chat.completions.create(model="m", messages=MESSAGES)
            except Exception as error:
                outcome = error
        return [f"{case.name}: {line}" for line in judge(case, server, outcome, time.monotonic() - start)]


def test_the_async_client_fares_the_same() -> None:
    async def all_at_once() -> list[list[str]]:
        return await asyncio.gather(*map(_async_outcome, CASES))

    assert [line for lines in asyncio.run(all_at_once()) for line in lines] == []


def test_a_good_call_has_usage_and_is_recorded_with_its_key(teacher_server: LoopbackTeacher) -> None:
    result = ask(teacher_server)

    assert result.choices[0].finish_reason == "stop"
    assert result.usage.total_tokens == result.usage.prompt_tokens + result.usage.completion_tokens > 2
    (request,) = teacher_server.requests
    assert (request.method, request.path, request.index) == ("POST", "/v1/chat/completions", 0)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body["messages"] == MESSAGES
    assert request.prompt_hash == prompt_hash(MESSAGES)


def test_the_models_are_listed_and_count_as_no_completion(teacher_server: LoopbackTeacher) -> None:
    with client(teacher_server) as teacher:
        assert [model.id for model in teacher.models.list()] == ["loopback"]
    assert teacher_server.hits == 0
    assert teacher_server.requests[0].path == "/v1/models"


def test_a_reply_function_answers_from_the_whole_request() -> None:
    with loopback_teacher(reply=lambda body: f"for {body['model']}") as server:
        assert ask(server).choices[0].message.content == "for m"


def test_an_error_in_the_reply_function_reaches_the_test() -> None:
    with (
        pytest.raises(KeyError, match="nothing"),
        loopback_teacher(reply=lambda body: body["nothing"]) as server,
        suppress(openai.APIConnectionError),
    ):
        ask(server, retries=0)


def stream(server: LoopbackTeacher, **options: Any) -> tuple[str, str | None, Any]:
    """Give the text, the finish_reason and the usage of a streamed reply."""
    text, reason, usage = "", None, None
    with client(server, **options) as teacher:
        for chunk in teacher.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        ):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reason = choice.finish_reason or reason
    return text, reason, usage


def test_a_stream_gives_the_same_text_and_usage(teacher_server: LoopbackTeacher) -> None:
    whole = ask(teacher_server)
    text, reason, usage = stream(teacher_server)
    assert (text, reason, usage) == (ANSWER, "stop", whole.usage)


def test_a_stream_that_ends_without_done_is_silently_short(teacher_server: LoopbackTeacher) -> None:
    teacher_server.faults = [stream_without_done()]
    text, reason, _ = stream(teacher_server)
    assert reason is None
    assert text and text != ANSWER and ANSWER.startswith(text)


def test_a_stream_cut_inside_its_chunks_is_an_error(teacher_server: LoopbackTeacher) -> None:
    """Seen with openai 3.51; the client does not retry once the stream has begun."""
    teacher_server.faults = [cut_short()]
    with pytest.raises(openai.APIConnectionError):
        stream(teacher_server)
    assert teacher_server.hits == 1


def test_a_redirect_takes_the_prompt_along_but_not_the_key(teacher_server: LoopbackTeacher) -> None:
    with loopback_teacher(faults=[redirect(teacher_server.base_url)]) as first:
        assert ask(first).choices[0].message.content == ANSWER
    (leaked,) = teacher_server.completions
    assert leaked.body["messages"] == MESSAGES
    assert "authorization" not in leaked.headers


def test_a_redirect_is_not_followed_by_a_client_told_so(teacher_server: LoopbackTeacher) -> None:
    with (
        loopback_teacher(faults=[redirect(teacher_server.base_url)]) as first,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        ask(first, follow_redirects=False)
    assert caught.value.status_code == 307
    assert teacher_server.requests == []


def outcomes(seed: int, prompts: list[str]) -> dict[str, list[str | None]]:
    """Ask each prompt twice, without retries, and give the faults that each met."""
    plan = SeededFaults(seed, 0.5, [server_error(), content(None), html_page()])
    with loopback_teacher(faults=plan) as server, client(server, retries=0) as teacher:
        for prompt in prompts * 2:
            with suppress(openai.InternalServerError):
                teacher.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
        met: dict[str, list[str | None]] = {}
        for request in server.completions:
            met.setdefault(request.body["messages"][0]["content"], []).append(request.fault)
    return met


def test_seeded_faults_depend_on_seed_and_prompt_not_on_order() -> None:
    prompts = [f"prompt {number}" for number in range(40)]
    met = outcomes(7, prompts)
    assert outcomes(7, prompts[::-1]) == met
    assert outcomes(8, prompts) != met
    assert {fault for fault, _ in met.values()} == {None, "status_500", "content_NoneType", "html_as_html"}
    assert {again for _, again in met.values()} == {None}  # each prompt fails at most once


def test_equal_prompts_get_equal_bytes(teacher_server: LoopbackTeacher) -> None:
    with loopback_teacher() as other:
        assert ask(teacher_server).to_dict() == ask(other).to_dict()


def test_a_plan_may_be_a_function_of_index_and_prompt() -> None:
    seen = []

    def plan(index: int, name: str) -> Fault | None:
        seen.append((index, name))
        return server_error(503) if index == 0 else None

    with loopback_teacher(faults=plan) as server:
        ask(server)
    assert seen == [(0, prompt_hash(MESSAGES)), (1, prompt_hash(MESSAGES))]


def test_stopping_lets_hanging_callers_go_and_leaves_no_thread() -> None:
    before = threading.active_count()
    caught: list[Exception] = []

    def wait() -> None:
        try:
            ask(server, retries=0, timeout=60)
        except openai.APIConnectionError as error:
            caught.append(error)

    with loopback_teacher(faults=[hang()] * 4) as server:
        callers = [threading.Thread(target=wait) for _ in range(4)]
        for caller in callers:
            caller.start()
        while server.hits < 4:
            time.sleep(0.01)
        start = time.monotonic()
    for caller in callers:
        caller.join(5)
    assert time.monotonic() - start < 2
    assert len(caught) == 4
    assert server.peak_in_flight == 4
    assert threading.active_count() <= before


def test_it_stops_by_itself() -> None:
    with loopback_teacher(seconds=0.1) as server:
        assert server.closing.wait(5)
        time.sleep(0.1)
        with pytest.raises(openai.APIConnectionError):
            ask(server, retries=0)


def test_every_named_fault_has_its_own_name() -> None:
    names = [(fault.name, fault.retry_after) for fault in EVERY_FAULT]
    assert len(set(names)) == len(names)
