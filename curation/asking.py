"""Asking a teacher about many subjects: what all methods share. Nothing is asked twice, nothing is lost.

A generation is one way of asking (method, model, endpoint, prompt, parameters). It has an item for each thing
wanted, written down before anything is sent. An item waits until the answer to its call is decided on.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any, Protocol

from curation import prompt_shelf
from curation.budget import TOKENS, Budget, Prices
from curation.call_log import Answer, CallLog
from curation.call_outcome import Outcome, outcome_of
from curation.call_round import Asked, Limits, ask_all
from curation.endpoint import (
    Endpoint,
    addresses,
    check_addresses,
    check_key_may_travel,
    default_endpoint,
    read_endpoint,
)
from curation.errors import WrongInput
from curation.prompt import Prompt
from curation.records import digest
from curation.stage import Progress, Report, Stage, StageResult, run_stage
from curation.store import calls, generations, runs
from curation.store.database import Connection, Database, Row
from curation.store.generations import Decided, Wanted
from curation.teacher import Call, Teacher, call_of
from curation.workspace import Workspace

CODE = "1"
API_SEED = 976  # sent with every call (recipes 1.3: 976 + index; an index would make a call depend on others)
CONTEXT = 8_192  # tokens of prompt and reply together (recipes 1.3)
ROOM = 10  # tokens of it that stay free (recipes 1.3)
BYTES_PER_TOKEN = 3  # of code and English, on the low side: how long a prompt is, about
PAGE = 200  # subjects read at a time


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Whom to ask, and what it may take. Raises WrongInput for what cannot be."""

    model: str = ""
    base_url: str = ""  # "": OPENAI_BASE_URL, else OpenAI's
    prompt: str = ""  # name or hash; "": the one in use
    temperature: float | None = 0.0  # recipes 1.3; None: not sent
    max_tokens: int = 2_500  # recipes 1.3
    send_seed: bool = True  # some endpoints refuse the parameter
    token_field: str = "max_tokens"  # newer models of OpenAI want max_completion_tokens
    retry_failed: bool = False
    budget_tokens: int = TOKENS
    price_in: float | None = None  # for a million tokens
    price_out: float | None = None
    budget_money: float | None = None
    concurrency: int = 32
    deadline: float = 120.0  # seconds for one attempt

    def __post_init__(self) -> None:
        _check(self)

    @property
    def prices(self) -> Prices | None:
        if self.price_in is None or self.price_out is None:
            return None
        return Prices(self.price_in, self.price_out)

    @property
    def endpoint(self) -> Endpoint:
        return read_endpoint(self.base_url) if self.base_url else default_endpoint()

    def parameters(self, tokens_in: int) -> dict[str, Any]:
        """Give what is sent beside the messages, for a prompt of about so many tokens."""
        found: dict[str, Any] = {self.token_field: min(self.max_tokens, CONTEXT - tokens_in - ROOM)}
        if self.temperature is not None:
            found["temperature"] = self.temperature
        if self.send_seed:
            found["seed"] = API_SEED
        return found

    def call(self, prompt: Prompt, messages: Sequence[Mapping[str, str]], draw: str) -> Call:
        about = sum(len(one["content"].encode("utf-8", "surrogatepass")) for one in messages)
        parameters = self.parameters(about // BYTES_PER_TOKEN)
        return call_of(self.endpoint.base_url, self.model, prompt.hash, messages, parameters, draw)


def _check(asked: TeacherSettings) -> None:
    if not asked.model.strip():
        raise WrongInput("Name the teacher's model with --model, as its endpoint calls it")
    bounds = {
        "--max-tokens": (asked.max_tokens, 1, CONTEXT), "--concurrency": (asked.concurrency, 1, 512),
        "--deadline": (asked.deadline, 0.1, 3_600),
    }  # fmt: skip
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise WrongInput(f"{name} {value} must be between {low} and {high:,}")
    if asked.temperature is not None and not 0 <= asked.temperature <= 2:
        raise WrongInput(f"--temperature {asked.temperature} must be between 0 and 2")
    if asked.token_field not in ("max_tokens", "max_completion_tokens"):
        raise WrongInput(f"--token-field {asked.token_field!r} is max_tokens or max_completion_tokens")
    if (asked.price_in is None) != (asked.price_out is None):
        raise WrongInput("Give --price-in and --price-out together, for a million tokens each")
    for price in (asked.price_in, asked.price_out):
        if price is not None and not 0 <= price < 1e6:
            raise WrongInput(f"A price of {price} for a million tokens is none")
    Budget(asked.budget_tokens, asked.prices, asked.budget_money)


@dataclass(frozen=True, slots=True)
class Final:
    """A final answer, and what it answers."""

    call: Call
    outcome: Outcome
    item: Row[Any]
    subject: Row[Any]
    is_repair: bool


class Method(Protocol):
    """What one method does with a teacher: pure but for `keep`, which writes in the transaction given."""

    @property
    def name(self) -> str:
        """Give its name: oss-instruct, judge."""

    def subjects(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, Row[Any]]:
        """Read what is asked about, by id."""

    def call(self, subject: Row[Any], draw: int) -> Call:
        """Make the question."""

    def repair(self, subject: Row[Any], draw: int, reply: str) -> Call | None:
        """Make a second question for the same answer in the right form; None: there is none."""

    def keep(self, connection: Connection, finals: Sequence[Final]) -> Sequence[Decided]:
        """Make of final answers what they are worth, and say what became of their items."""

    def may_be_repaired(self, reason: str | None) -> bool:
        """Say whether a second question could help."""


@dataclass
class Asking:
    """One attempt at a generation."""

    workspace: Workspace
    method: Method
    settings: TeacherSettings
    prompt: Prompt
    label: str  # of what is made
    wanted: Sequence[str]  # ids of subjects, in order
    draws: int
    key: str | None
    limits: Limits = field(default_factory=Limits)
    open_teacher: Callable[[str, str | None, float, int], Teacher] = Teacher

    def __post_init__(self) -> None:
        self.db: Database = self.workspace.database
        self.id = generation_id(self.method.name, self.label, self.settings, self.prompt)
        self._expected: dict[str, tuple[Row[Any], Row[Any], bool]] = {}

    def run_stage(self, said: Mapping[str, Any], show: Progress) -> StageResult:
        """Ask what was not answered yet; attach to another process that does. Raises WrongInput for an
        endpoint that cannot be asked."""
        endpoint = self.settings.endpoint
        check_addresses(endpoint, addresses(endpoint))
        if self.key:
            check_key_may_travel(endpoint)
        request = runs.Request(f"{self.method.name}:{self.id[:16]}", said, digest(*self.wanted), CODE)
        result = run_stage(self.workspace, request, self._run, show, again=True)
        result.report = {**report_of(self.db, self.id, self.wanted, self.draws), **result.report}
        return result

    def _run(self, stage: Stage) -> Report:
        self._open(stage)
        asked = self._ask(stage)
        stopped = "Stopped by a person; go on whenever you like" if asked.is_stopped else None
        with self.db.transaction() as connection:
            calls.settle_orphans(connection, self.id)  # those that a stop gave up in flight
            generations.pause(connection, self.id, asked.paused or stopped)
        if asked.is_stopped:
            raise KeyboardInterrupt  # the stage tells it as it tells every Ctrl-C
        counted = report_of(self.db, self.id, self.wanted, self.draws)
        report = {**counted, "calls": asked.attempts, "paused": asked.paused}
        with stage.finishing() as connection:
            runs.finish(connection, stage.run_id, report)
        return report

    def _open(self, stage: Stage) -> None:
        """Write down what is wanted. Calls of a killed process are settled: nobody knows their replies."""
        facts = {
            "method": self.method.name, "name": self.label, "model": self.settings.model,
            "endpoint": self.settings.endpoint.base_url, "prompt_hash": self.prompt.hash,
            "settings": said_of(self.settings),
        }  # fmt: skip
        with self.db.transaction() as connection:
            prompt_shelf.keep(connection, self.prompt)
            generations.open_generation(connection, self.id, facts)
            calls.settle_orphans(connection, self.id)
            known = generations.known_items(connection, self.id)
        new = [id for id in self.wanted if any((id, draw) not in known for draw in range(self.draws))]
        for start in range(0, len(new), PAGE):
            page = new[start : start + PAGE]
            with self.db.transaction() as connection:
                found = self.method.subjects(connection, page)
                wanted = [
                    Wanted(id, draw, self.method.call(found[id], draw).id)
                    for id in page if id in found for draw in range(self.draws)
                    if (id, draw) not in known
                ]  # fmt: skip
                generations.want(connection, self.id, wanted)
            stage.progress("writing down what is wanted", start + len(page), len(new))

    # --- what is to be asked ---

    def _first_calls(self) -> Iterator[list[Call]]:
        """Give pages of calls that are to be asked; replies that are there already are taken."""
        states = {generations.WAITING, *([generations.FAILED] if self.settings.retry_failed else [])}
        with self.db.reading() as connection:
            found = generations.items(connection, self.id, self.wanted)
        todo = [one for one in found if one.state in states and one.draw < self.draws]
        for start in range(0, len(todo), PAGE):
            yield self._page(todo[start : start + PAGE])

    def _page(self, items: Sequence[Row[Any]]) -> list[Call]:
        with self.db.reading() as connection:
            found = self.method.subjects(connection, [one.subject for one in items])
            there = {row.id: row for row in calls.done(connection, [one.call_id for one in items])}
        asked: list[Call] = []
        out: list[Decided] = []
        for item in items:
            subject = found.get(item.subject)
            call = None if subject is None else self.method.call(subject, item.draw)
            if call is None or call.worst_out < 1:
                reason = "seed_gone" if call is None else "prompt_too_long"  # recipes 1.3: skipped if <= 0
                out.append(Decided(item.position, generations.REJECTED, reason, {"of": item.subject}))
                continue
            assert subject is not None
            self._expected[call.id] = (item, subject, False)
            if call.id in there:
                self._take(call, there[call.id])
            else:
                asked.append(call)
        if out:
            with self.db.transaction() as connection:
                generations.decide(connection, self.id, out)
        return asked

    def _take(self, call: Call, row: Row[Any]) -> None:
        """Use a reply that another generation paid for."""
        with self.db.transaction() as connection:
            self._keep(connection, [(call, outcome_in(row))])

    def _repairs(self) -> Iterator[list[Call]]:
        """Give calls that ask once more for the same answer, in the right form."""
        wanted = frozenset(self.wanted)
        for row in generations.stream_items(self.db, self.id, (generations.REJECTED,)):
            if row.repair_id is not None or not self.method.may_be_repaired(row.reason):
                continue
            if generations.REPAIR in row.evidence and not self.settings.retry_failed:
                continue  # asked once already, in vain
            if row.subject not in wanted or row.draw >= self.draws:
                continue
            with self.db.reading() as connection:
                subject = self.method.subjects(connection, [row.subject]).get(row.subject)
            said = outcome_in(row).completion
            if subject is None or said is None:
                continue
            call = self.method.repair(subject, row.draw, said.content)
            if call is None or call.worst_out < 1:
                continue
            self._expected[call.id] = (row, subject, True)
            with self.db.reading() as connection:
                there = calls.done(connection, [call.id])
            if there:
                self._take(call, there[0])
            else:
                yield [call]

    def _ask(self, stage: Stage) -> Asked:
        passes = [
            (call for page in pages for call in page) for pages in (self._first_calls(), self._repairs())
        ]
        for number, every in enumerate(passes):
            if (first := next(every, None)) is not None:
                return self._ask_all(stage, [chain([first], every), *passes[number + 1 :]])
        return Asked()  # without a process to ask with, which takes a second to start

    def _ask_all(self, stage: Stage, passes: Sequence[Iterator[Call]]) -> Asked:
        with self.db.reading() as connection:
            used = calls.spent(connection, self.id)
        asked = self.settings
        budget = Budget(asked.budget_tokens, asked.prices, asked.budget_money, *used)
        limits = replace(self.limits, concurrency=asked.concurrency, deadline=asked.deadline)
        teacher = self.open_teacher(asked.endpoint.base_url, self.key, asked.deadline, asked.concurrency)
        return ask_all(
            teacher, passes, lambda: CallLog(self.db, self.id, self._keep), budget, limits,
            stage.progress, len(self.wanted) * self.draws,
        )  # fmt: skip

    def _keep(self, connection: Connection, answers: Sequence[Answer]) -> None:
        """Decide on final answers, in the transaction that writes them down: neither is ever there without
        the other."""
        finals = []
        for call, outcome in answers:
            item, subject, is_repair = self._expected.pop(call.id)
            finals.append(Final(call, outcome, item, subject, is_repair))
        generations.decide(connection, self.id, self.method.keep(connection, finals))


def outcome_in(row: Row[Any]) -> Outcome:
    """Read the outcome out of a stored call that was answered whole."""
    return outcome_of(200, {}, "application/json", calls.unpack(row.reply))


def generation_id(method: str, label: str, settings: TeacherSettings, prompt: Prompt) -> str:
    """Name a way of asking: what changes it makes new calls, and another generation."""
    parameters = json.dumps(settings.parameters(0), sort_keys=True)
    return digest(method, label, settings.model, settings.endpoint.base_url, prompt.hash, parameters)


def said_of(settings: TeacherSettings) -> dict[str, Any]:
    """Say settings as JSON. Ids may be 80,000: they are in the items."""
    said = asdict(settings)
    if "ids" in said:
        said["ids"] = len(said["ids"])
    return {**said, "base_url": settings.endpoint.base_url}


def report_of(db: Database, id: str, wanted: Sequence[str], draws: int) -> Report:
    """Count what became of what was asked: requested = kept + rejected + failed + waiting. `tokens` are those
    of the whole generation; `calls`, those of this run, are filled in by it."""
    with db.reading() as connection:
        found = [one for one in generations.items(connection, id, wanted) if one.draw < draws]
        used = calls.totals(connection, id)
    states: dict[str, Counter[str]] = {state: Counter() for state in generations.STATES}
    for one in found:
        states[one.state][one.reason or ""] += 1
    return {
        "generation": id,
        "requested": len(found),
        "kept": sum(states[generations.KEPT].values()),
        "rejected": dict(states[generations.REJECTED].most_common()),
        "failed": dict(states[generations.FAILED].most_common()),
        "waiting": sum(states[generations.WAITING].values()),
        "calls": 0,
        "tokens": int(used.tokens_in + used.tokens_out + used.lost_in + used.lost_out),
        "tokens_in": int(used.tokens_in),
        "tokens_out": int(used.tokens_out),
        "tokens_lost": int(used.lost_in + used.lost_out),
        "paused": None,
    }
