"""Seeds -> samples through a real teacher on loopback: nothing is asked twice, nothing is lost, nothing costs
more than was allowed. What faulty teachers do stands in test_teacher_faults.py."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from curation import prompt_shelf
from curation.errors import StageCancelled, WrongInput
from curation.generate import Settings, generate, settings_of
from curation.prompt import shipped
from curation.records import SeedSnippet
from curation.reply import METHOD
from curation.store import generations, seeds
from curation.store.calls import unpack
from curation.store.database import Row
from tests.generating import QUICK, Generating
from tests.loopback_teacher import Fault, hang, json_body, loopback_teacher, prompt_hash, refusal
from tests.made_up_seeds import in_sections, made_up_seeds

KEY = "sk-canary-5f3a9c7e1b2d4f6a8c0e"
Reply = Callable[[dict[str, Any]], str]


def states(rows: list[Row[Any]]) -> list[tuple[str, str | None]]:
    return [(one.state, one.reason) for one in rows]


def is_repair(body: dict[str, Any]) -> bool:
    return any(one["role"] == "assistant" for one in body["messages"])


# --- the way it should go ---


def test_each_seed_becomes_a_sample_that_names_its_call_seed_licence_and_prompt(
    generating: Generating,
) -> None:
    report = generating.ask(limit=12, name="tasks").report

    assert (report["requested"], report["kept"], report["calls"]) == (12, 12, 12)
    assert generating.teacher.hits == 12
    prompt = shipped(METHOD)[0]
    for seed, sample in zip(made_up_seeds(12), generating.samples(), strict=True):
        name = prompt_hash(generating.request(sample.id)["messages"])
        assert sample.instruction == f"Write a function `answer_{name}` that gives its own name."
        assert sample.response == f"```python\ndef answer_{name}() -> str:\n    return {name!r}\n```"
        assert (sample.seed_id, sample.name, sample.method) == (seed.id, "tasks", METHOD)
        extra = {name: value for name, value in sample.extra.items() if name != "flags"}
        assert extra == {
            "model": "loopback", "endpoint": generating.teacher.base_url, "prompt": prompt.hash, "draw": 0,
        }  # fmt: skip
        assert seed.text in generating.request(sample.id)["messages"][-1]["content"]


def test_every_call_is_on_record_with_its_request_its_reply_and_the_tokens_the_server_named(
    generating: Generating,
) -> None:
    report = generating.ask(limit=5).report
    assert report["tokens"] == generating.teacher.billed == report["tokens_in"] + report["tokens_out"]
    assert report["tokens_lost"] == 0
    for item, sent in zip(
        generating.items(report["generation"]), generating.teacher.completions, strict=True
    ):
        assert {**generating.request(item.call_id), "model": "loopback"} == sent.body
        call = generating.call(item.call_id)
        assert (call.state, call.attempts, call.finish_reason, call.is_guessed) == ("done", 1, "stop", False)
        assert (call.endpoint, call.prompt_hash) == (generating.teacher.base_url, shipped(METHOD)[0].hash)
        assert json.loads(unpack(item.reply))["choices"][0]["message"]["content"] == in_sections(sent.body)


def test_what_is_sent_is_what_was_published(generating: Generating) -> None:
    """Recipes 1.3: temperature 0, one reply, a seed, min(2500, 8192 - prompt - 10) tokens."""
    generating.ask(limit=1)
    body = generating.teacher.completions[0].body
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.0, 2_500, 976)
    assert not {"n", "stream", "tools", "response_format"} & set(body)


def test_what_an_endpoint_refuses_can_be_left_out(generating: Generating) -> None:
    generating.ask(limit=1, temperature=None, send_seed=False, token_field="max_completion_tokens")
    body = generating.teacher.completions[0].body
    assert set(body) == {"model", "messages", "max_completion_tokens"}


def test_the_same_again_asks_nothing_and_a_larger_limit_goes_on(generating: Generating) -> None:
    generating.ask(limit=5)
    again = generating.ask(limit=5).report
    assert (again["calls"], again["kept"], generating.teacher.hits) == (0, 5, 5)
    more = generating.ask(limit=9).report
    assert (more["calls"], more["kept"], generating.teacher.hits) == (4, 9, 9)
    fewer = generating.ask(limit=2).report
    assert (fewer["requested"], fewer["kept"], generating.teacher.hits) == (2, 2, 9)
    assert len(generating.samples()) == 9


def test_seeds_may_be_named_one_by_one(generating: Generating) -> None:
    wanted = [made_up_seeds(9)[at].id for at in (7, 2, 7)]
    report = generating.ask(ids=tuple(wanted)).report
    assert report["requested"] == 2
    assert {one.seed_id for one in generating.samples()} == set(wanted)


def test_a_seed_may_be_asked_about_more_than_once_each_draw_a_call_of_its_own(generating: Generating) -> None:
    report = generating.ask(limit=3, draws=2).report
    assert (report["requested"], report["kept"], generating.teacher.hits) == (6, 6, 6)
    assert Counter(one.seed_id for one in generating.samples()) == {one.id: 2 for one in made_up_seeds(3)}
    fewer = generating.ask(limit=3, draws=1).report
    assert (fewer["requested"], fewer["kept"], fewer["calls"]) == (3, 3, 0)


def test_calls_fly_together_up_to_the_concurrency_and_never_above(generating: Generating) -> None:
    generating.teacher.delay = 0.05
    generating.ask(concurrency=7)
    assert generating.teacher.peak_in_flight == 7


# --- keys and what else must not travel ---


def test_without_a_key_no_authorization_is_sent(generating: Generating) -> None:
    generating.ask(limit=1)
    assert "authorization" not in generating.teacher.completions[0].headers


def test_a_key_is_sent_as_it_is(generating: Generating) -> None:
    generating.ask(key=KEY, limit=1)
    assert generating.teacher.completions[0].headers["authorization"] == f"Bearer {KEY}"


def test_nothing_of_the_environment_is_sent(generating: Generating, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes a key, headers, an organization and proxies from it, whoever is asked."""
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"canary-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: canary-header\nAuthorization: Bearer canary-auth")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert generate(generating.workspace, generating.settings(limit=1), None).report["kept"] == 1
    for one in generating.teacher.requests:
        assert "canary" not in str(one.headers) + str(one.body)


# --- what changes a call, and what does not ---


def test_another_endpoint_model_or_prompt_means_new_calls_and_old_results_stay(
    generating: Generating,
) -> None:
    """F27."""
    first = generating.ask(limit=4)
    before = {one.id: tuple(one) for one in generating.samples()}
    items = [tuple(one) for one in generating.items(first.report["generation"])]
    short = next(one for one in shipped(METHOD) if one.name == "oss_instruct_short")
    found = {first.report["generation"]}
    with loopback_teacher(in_sections) as second:
        other = Generating(generating.workspace, second)
        found.add(other.ask(limit=4).report["generation"])
        assert second.hits == 4
        found.add(generating.ask(limit=4, model="another").report["generation"])
        found.add(generating.ask(limit=4, prompt=short.name).report["generation"])
        found.add(generating.ask(limit=4, temperature=0.5).report["generation"])
    assert (len(found), generating.teacher.hits) == (5, 16)
    after = {one.id: tuple(one) for one in generating.samples()}
    assert len(after) == 20 and before.items() <= after.items()
    assert [tuple(one) for one in generating.items(first.report["generation"])] == items
    extra = {(one.extra["model"], one.extra["endpoint"], one.extra["prompt"]) for one in generating.samples()}
    assert len(extra) == 4  # temperature is of the request, not of the row


def test_how_hard_a_teacher_is_asked_is_no_part_of_a_call(generating: Generating) -> None:
    generating.ask(limit=4)
    report = generating.ask(limit=4, concurrency=9, deadline=3.0, budget_tokens=10**8, repair=False).report
    assert (report["calls"], report["kept"]) == (0, 4)


def test_a_trial_makes_no_samples_and_the_real_run_after_it_costs_nothing(generating: Generating) -> None:
    trial = generating.ask(limit=6, is_trial=True).report
    assert (trial["kept"], generating.samples()) == (6, [])
    real = generating.ask(limit=6).report
    assert (real["kept"], real["calls"], generating.teacher.hits) == (6, 0, 6)
    assert len(generating.samples()) == 6
    assert generating.ask(limit=7).report["calls"] == 1


def test_a_second_answer_that_a_trial_paid_for_is_taken_too(generating: Generating) -> None:
    generating.teacher.reply = lambda body: in_sections(body) if is_repair(body) else "[Solution]\nx"
    generating.ask(limit=3, is_trial=True)
    assert generating.teacher.hits == 6
    real = generating.ask(limit=3).report
    assert (real["kept"], real["calls"], generating.teacher.hits) == (3, 0, 6)
    assert all(generating.call(one.id).attempts == 1 for one in generating.samples())


def test_samples_that_stand_under_another_name_are_told(generating: Generating) -> None:
    """A call has one sample: the second name got none of them, and the report said that all were kept."""
    assert generating.ask(limit=3, name="first").warnings == []
    again = generating.ask(limit=5, name="second")
    assert (again.report["kept"], generating.teacher.hits) == (5, 5)
    assert sorted(one.name for one in generating.samples()) == ["first"] * 3 + ["second"] * 2
    assert again.warnings == [
        "3 samples stay in the set 'first': the same calls were made under that name before"
    ]


def test_who_asks_again_pays_for_it(generating: Generating) -> None:
    """A call that failed in a trial is asked again by the real run: in its budget, not in the trial's."""
    generating.teacher.faults = [json_body({"choices": [{"text": "paid, and useless"}]})]
    trial = generating.ask(limit=1, is_trial=True).report
    assert (trial["failed"], trial["tokens"] > 0) == ({"bad_response": 1}, True)
    real = generating.ask(limit=1).report
    assert real["kept"] == 1 and real["tokens"] > trial["tokens"]


# --- what cannot be asked ---


def test_a_seed_that_leaves_no_room_for_a_reply_is_rejected_unsent(generating: Generating) -> None:
    long = replace(made_up_seeds(1)[0], id="f" * 32, text="x = 1  # " + "long " * 6_000)
    add(generating, long)
    report = generating.ask(ids=(long.id,)).report
    assert (report["rejected"], report["calls"], generating.teacher.hits) == ({"prompt_too_long": 1}, 0, 0)


def test_a_long_seed_leaves_less_room_for_the_reply(generating: Generating) -> None:
    """Recipes 1.3: 8,192 tokens in all."""
    long = replace(made_up_seeds(1)[0], id="e" * 32, text="x = 1\n" * 3_500)
    add(generating, long)
    generating.ask(ids=(long.id,))
    assert 0 < generating.teacher.completions[0].body["max_tokens"] < 1_000


def add(generating: Generating, seed: SeedSnippet) -> None:
    with generating.workspace.database.transaction() as connection:
        seeds.add(connection, [seed])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"model": " "}, "--model"),
        ({"max_tokens": 0}, "--max-tokens 0"),
        ({"concurrency": 0}, "--concurrency 0"),
        ({"concurrency": 513}, "--concurrency 513"),
        ({"deadline": 0.0}, "--deadline 0.0"),
        ({"temperature": 2.5}, "--temperature 2.5"),
        ({"temperature": float("nan")}, "--temperature nan"),
        ({"token_field": "tokens"}, "--token-field 'tokens'"),
        ({"price_in": 1.0}, "--price-in and --price-out together"),
        ({"price_in": 1.0, "price_out": -1.0}, "-1.0"),
        ({"budget_tokens": 0}, "--budget-tokens 0"),
        ({"budget_money": 1.0}, "--price-in"),
        ({"limit": -1}, "--limit -1"),
        ({"draws": 0}, "--draws 0"),
        ({"draws": 101}, "--draws 101"),
        ({"name": " "}, "--name"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(WrongInput, match=named):
        Settings(**{"model": "m", **given})


def test_settings_come_back_from_what_a_job_says() -> None:
    asked = {"model": "m", "ids": ["a", "b"], "seeds": {"language": "Rust", "lines": [1, 3]}}
    found = settings_of(asked)
    assert (found.ids, found.seeds.language, found.seeds.lines) == (("a", "b"), "Rust", (1, 3))
    assert (settings_of({"model": "m"}).seeds.sort, Settings(model="m").seeds.sort) == ("mixed", "mixed")


def test_no_seed_no_such_prompt_and_no_such_endpoint_are_told_before_anything_is_sent(
    generating: Generating,
) -> None:
    for given, named in (
        ({"seeds": replace(generating.settings().seeds, language="Cobol")}, "No seed fits"),
        ({"prompt": "none of these"}, "no prompt 'none of these'"),
        ({"base_url": "http://169.254.169.254/v1"}, "169.254.169.254"),
        ({"base_url": "ftp://127.0.0.1"}, "must begin with https"),
    ):
        with pytest.raises(WrongInput, match=named):
            generating.ask(**given)
    assert (generating.teacher.hits, generating.query("SELECT * FROM teacher_call")) == (0, [])


# --- a reply that cannot be read (F21) ---

REPAIRABLE = {
    "missing_problem_marker": "The task.\n[Solution]\nx",
    "missing_solution_marker": "[Problem Description]\nThe task.",
    "missing_both_markers": "The task and its answer.",
    "reversed_markers": "[Solution]\nx\n[Problem Description]\nThe task.",
    "empty_problem": "[Problem Description]\n\n[Solution]\nx",
    "empty_solution": "[Problem Description]\nThe task.\n[Solution]\n```\n```",
}
NOT_REPAIRABLE = {
    "empty_reply": " ",
    "markers_on_one_line": "[Problem Description] [Solution]\nx",
    "second_problem": "[Problem Description]\na\n[Solution]\nb\n[Problem Description]\nc\n[Solution]\nd",
}


def replies_of(texts: list[str], repaired: Reply) -> Reply:
    """Answer the first time with these texts, by the number of the seed in the prompt."""

    def reply(body: dict[str, Any]) -> str:
        if is_repair(body):
            return repaired(body)
        seed = body["messages"][-1]["content"]
        return next(text for at, text in enumerate(texts) if f"def step_{at}(x)" in seed)

    return reply


def test_a_reply_without_its_sections_is_asked_for_once_more(generating: Generating) -> None:
    generating.teacher.reply = replies_of(list(REPAIRABLE.values()), in_sections)
    report = generating.ask(limit=len(REPAIRABLE)).report
    assert (report["kept"], report["rejected"], generating.teacher.hits) == (6, {}, 12)
    assert report["tokens"] == generating.teacher.billed  # both replies
    again = generating.teacher.completions[6:]
    for (_, text), sent in zip(REPAIRABLE.items(), again, strict=True):
        first, reply, order = sent.body["messages"][-3:]
        assert first["role"] == "user" and reply == {"role": "assistant", "content": text}
        assert order == {"role": "user", "content": shipped(METHOD)[0].repair}
    for item in generating.items(report["generation"]):
        assert item.sample_id == item.repair_id != item.call_id


def test_what_a_second_request_would_not_mend_is_not_asked_again(generating: Generating) -> None:
    generating.teacher.reply = replies_of(list(NOT_REPAIRABLE.values()), in_sections)
    report = generating.ask(limit=3).report
    assert (report["rejected"], generating.teacher.hits) == (dict.fromkeys(NOT_REPAIRABLE, 1), 3)
    generating.teacher.reply = in_sections
    generating.teacher.faults = lambda index, hash: refusal() if index == 3 else None
    assert generating.ask(limit=4).report["rejected"]["refusal"] == 1
    assert generating.teacher.hits == 4


def test_a_second_reply_of_no_use_is_the_end_of_it(generating: Generating) -> None:
    generating.teacher.reply = replies_of(["no sections at all"], lambda body: "[Problem Description]\nonly")
    report = generating.ask(limit=1).report
    assert (report["rejected"], generating.teacher.hits) == ({"missing_solution_marker": 1}, 2)
    item = generating.items(report["generation"])[0]
    assert item.evidence["repair"] == "asked once more, in vain" and item.repair_id is not None
    assert generating.ask(limit=1).report["calls"] == 0


def test_when_the_second_request_fails_the_first_reply_keeps_its_reason(generating: Generating) -> None:
    generating.teacher.reply = replies_of(["no sections at all"], in_sections)
    too_long = Fault("too_long", 400, '{"error": {"message": "maximum context length"}}')
    generating.teacher.faults = [None, too_long]
    report = generating.ask(limit=1).report
    assert (report["rejected"], report["failed"]) == ({"missing_both_markers": 1}, {})
    item = generating.items(report["generation"])[0]
    assert item.evidence["repair"] == "status 400: maximum context length"
    assert "no sections at all" in item.evidence["beginning"]
    assert generating.ask(limit=1).report["calls"] == 0  # asked once, not at every start
    assert generating.ask(limit=1, retry_failed=True).report["kept"] == 1


def test_no_second_request_where_a_person_wants_none(generating: Generating) -> None:
    generating.teacher.reply = lambda body: "no sections"
    report = generating.ask(limit=3, repair=False).report
    assert (report["rejected"], generating.teacher.hits) == ({"missing_both_markers": 3}, 3)
    generating.teacher.reply = in_sections
    assert generating.ask(limit=3).report["kept"] == 3  # a change of mind costs the second requests only
    assert generating.teacher.hits == 6


def test_a_prompt_without_words_for_it_asks_once(generating: Generating) -> None:
    mute = replace(shipped(METHOD)[0], name="mute", repair="")
    prompt_shelf.write(generating.workspace, mute)
    generating.teacher.reply = lambda body: "no sections"
    report = generating.ask(limit=2, prompt="mute").report
    assert (report["rejected"], generating.teacher.hits) == ({"missing_both_markers": 2}, 2)


# --- budgets ---

SMALL = {"max_tokens": 60}  # a call's worst case is its prompt's bytes and these


def needed(generating: Generating, limit: int) -> int:
    """Give the server's own count of what so many seeds take."""
    with loopback_teacher(in_sections) as server:
        Generating(generating.workspace, server).ask(limit=limit, is_trial=True, **SMALL)
        return server.billed


@pytest.mark.parametrize("concurrency", [1, 8])
def test_half_of_the_tokens_needed_is_never_passed_and_a_raised_budget_goes_on(
    generating: Generating, concurrency: int
) -> None:
    whole = needed(generating, 30)
    given = {"concurrency": concurrency, "limit": 30, **SMALL}
    first = generating.ask(budget_tokens=whole // 2, **given)
    assert whole // 4 < generating.teacher.billed <= whole // 2
    assert first.report["paused"].startswith("The budget is used up: ")
    assert f"of {whole // 2:,} tokens are spent, and the next call could take" in first.report["paused"]
    assert 0 < first.report["waiting"] == 30 - first.report["kept"]
    hits = generating.teacher.hits

    again = generating.ask(budget_tokens=whole // 2, **given).report
    assert (again["calls"], generating.teacher.hits) == (0, hits)  # still used up

    last = generating.ask(budget_tokens=2 * whole, **given).report
    assert (last["kept"], last["paused"], generating.teacher.hits) == (30, None, 30)
    row = generations.find(generating.workspace.database, last["generation"])
    assert row is not None and row.paused is None


def test_half_of_the_money_needed_is_never_passed(generating: Generating) -> None:
    whole = 30 * (250 * 2_000 + 20 * 9_000) / 1_000_000  # a prompt has some 250 words, a reply 20
    given = {"price_in": 2_000.0, "price_out": 9_000.0, "limit": 30, "concurrency": 4, **SMALL}
    first = generating.ask(budget_money=whole / 2, **given).report
    cost = (first["tokens_in"] * 2_000 + first["tokens_out"] * 9_000) / 1_000_000
    assert whole / 8 < cost <= whole / 2
    assert first["tokens"] == generating.teacher.billed  # what we count is what the server counts
    assert f"of {whole / 2:,.4f} (in the currency of the prices) are spent" in first["paused"]
    last = generating.ask(budget_money=3 * whole, **given).report
    assert (last["kept"], generating.teacher.hits) == (30, 30)


def test_a_budget_below_one_call_sends_none_and_says_why(generating: Generating) -> None:
    report = generating.ask(limit=3, budget_tokens=100).report
    assert (report["waiting"], report["calls"], generating.teacher.hits) == (3, 0, 0)
    assert report["paused"].startswith("The budget is used up: 0 of 100 tokens are spent, and the next call")


def test_a_second_request_needs_room_in_the_budget_too(generating: Generating) -> None:
    generating.teacher.reply = replies_of(["no sections"], in_sections)
    report = generating.ask(limit=1, budget_tokens=3_000, **SMALL).report
    assert (report["rejected"], report["paused"]) == ({}, None) and report["kept"] == 1
    generating.teacher.reply = replies_of(["no sections"], in_sections)
    other = {"temperature": 0.1, **SMALL}
    tight = generating.ask(limit=1, budget_tokens=2_100, **other).report
    assert tight["rejected"] == {"missing_both_markers": 1} and "budget is used up" in tight["paused"]
    assert generating.ask(limit=1, budget_tokens=9_000, **other).report["kept"] == 1


# --- what somebody should look at ---


def test_one_and_the_same_reply_raises_an_alarm(generating: Generating) -> None:
    """F24: identical content is dropped by `clean`; here somebody is told."""
    generating.teacher.reply = lambda body: "[Problem Description]\nSort.\n[Solution]\nsorted(x)"
    result = generating.ask(limit=25)
    assert result.warnings == [
        "25 of 25 samples are one and the same text: look at the prompt and the teacher"
    ]
    assert len({one.id for one in generating.samples()}) == 25


def test_a_fifth_alike_is_no_alarm(generating: Generating) -> None:
    plain = "[Problem Description]\nSort.\n[Solution]\nsorted(x)"
    generating.teacher.reply = lambda body: plain if index_of(body) < 6 else in_sections(body)
    assert generating.ask(limit=30).warnings == []
    generating.teacher.reply = lambda body: plain
    assert len(generating.ask(limit=32).warnings) == 1


def index_of(body: dict[str, Any]) -> int:
    text = body["messages"][-1]["content"]
    return next(n for n in range(60) if f"def step_{n}(x)" in text)


# --- stopping ---


def test_ctrl_c_lets_calls_in_flight_end_and_the_same_command_goes_on(generating: Generating) -> None:
    generating.teacher.delay = 0.2

    def stop_at_third(what: str, done: int, total: int) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StageCancelled):
        generating.ask(concurrency=4, limit=30, show=stop_at_third)
    generating.check_store()
    hits = generating.teacher.hits
    assert 4 <= hits <= 3 + 4 + 4  # 3 answered, 4 in flight, at most one more for each
    assert len(generating.samples()) == hits  # every one that flew was kept
    standing = generations.all_of(generating.workspace.database)[0]
    assert standing.paused == "Stopped by a person; go on whenever you like"

    generating.teacher.delay = 0.0
    report = generating.ask(concurrency=4, limit=30).report
    assert (report["kept"], generating.teacher.hits) == (30, 30)


def test_ctrl_c_gives_up_what_hangs_after_a_while_and_counts_it_as_lost(generating: Generating) -> None:
    generating.teacher.faults = [None, hang()]

    def stop(what: str, done: int, total: int) -> None:
        if generating.teacher.hits == 2:
            os.kill(os.getpid(), signal.SIGINT)

    # Somebody must look while nothing comes back: the first reply arrives when the second call hangs.
    generating.teacher.delay = 0.1
    with pytest.raises(StageCancelled):
        generating.ask(concurrency=2, limit=2, show=stop, limits=replace(QUICK, drain=0.2))
    generating.check_store()
    calls = generating.query("SELECT state, lost_in + lost_out > 0 FROM teacher_call ORDER BY state")
    assert calls == [("done", 0), ("lost", 1)]
    assert generating.ask(limit=2).report["kept"] == 2
