"""Asking a teacher about many subjects: what all methods share. Nothing is asked twice, nothing is lost.

A generation is one way of asking (method, model, endpoint, prompt, parameters). It has an item for each thing
wanted, written down before anything is sent. An item waits until the answer to its call is decided on.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal, Protocol

from curation import prompt_shelf
from curation.batch_log import BatchLog
from curation.batch_round import MOST_CALLS, SLOWEST, BatchLimits, ask_in_batches
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
from curation.file_lock import tried
from curation.prompt import Prompt
from curation.records import digest
from curation.stage import WATCH_SECONDS, Progress, Report, Stage, StageResult, run_stage
from curation.store import batches, calls, generations, runs
from curation.store.database import Connection, Database, Row
from curation.store.generations import Decided, Wanted
from curation.teacher import Call, Teacher, call_of
from curation.teacher_batch import BatchTeacher
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
    top_p: float | None = None  # None: not sent
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
    mode: Literal["now", "batch"] = "now"  # batch: the provider's batch API, within a day; the same calls
    batch_size: int = MOST_CALLS
    poll: float = SLOWEST  # seconds between two looks at a batch, at most
    give_up_batches: bool = False  # count living batches as paid for and lost, and ask their calls anew

    def __post_init__(self) -> None:
        _check(self)

    @property
    def prices(self) -> Prices | None:
        if self.price_in is None or self.price_out is None:
            return None
        return Prices(self.price_in, self.price_out)

    @cached_property
    def endpoint(self) -> Endpoint:
        return read_endpoint(self.base_url) if self.base_url else default_endpoint()

    def parameters(self, tokens_in: int) -> dict[str, Any]:
        """Give what is sent beside the messages, for a prompt of about so many tokens."""
        found: dict[str, Any] = {self.token_field: min(self.max_tokens, CONTEXT - tokens_in - ROOM)}
        if self.temperature is not None:
            found["temperature"] = self.temperature
        if self.top_p is not None:
            found["top_p"] = self.top_p
        if self.send_seed:
            found["seed"] = API_SEED
        return found

    def call(self, prompt: Prompt, messages: Sequence[Mapping[str, str]], draw: str, shift: int = 0) -> Call:
        """Make a call. `shift` is added to the seed, so that an endpoint that heeds it draws anew."""
        about = sum(len(one["content"].encode("utf-8", "surrogatepass")) for one in messages)
        parameters = self.parameters(about // BYTES_PER_TOKEN)
        if "seed" in parameters:
            parameters["seed"] += shift
        return call_of(self.endpoint.base_url, self.model, prompt.hash, messages, parameters, draw)


def _check(asked: TeacherSettings) -> None:
    if not asked.model.strip():
        raise WrongInput("Name the teacher's model with --model, as its endpoint calls it")
    bounds = {
        "--max-tokens": (asked.max_tokens, 1, CONTEXT), "--concurrency": (asked.concurrency, 1, 512),
        "--deadline": (asked.deadline, 0.1, 3_600), "--batch-size": (asked.batch_size, 1, MOST_CALLS),
        "poll": (asked.poll, 0, 3_600),
    }  # fmt: skip
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise WrongInput(f"{name} {value} must be between {low} and {high:,}")
    if asked.mode not in ("now", "batch"):
        raise WrongInput(f"mode {asked.mode!r} is now or batch")
    if asked.temperature is not None and not 0 <= asked.temperature <= 2:
        raise WrongInput(f"--temperature {asked.temperature} must be between 0 and 2")
    if asked.top_p is not None and not 0 < asked.top_p <= 1:
        raise WrongInput(f"--top-p {asked.top_p} must be above 0 and at most 1")
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
    beside: Sequence[str] = ()  # ids of generations whose cost counts against the same budget
    limits: Limits = field(default_factory=Limits)
    open_teacher: Callable[[str, str | None, float, int], Teacher] = Teacher

    def __post_init__(self) -> None:
        self.db: Database = self.workspace.database
        self.id = generation_id(self.method.name, self.label, self.settings, self.prompt)
        self._expected: dict[str, tuple[Row[Any], Row[Any], bool]] = {}
        self._in_batches: set[str] = set()  # calls that were not asked, because a living batch holds them
        self._teacher: Teacher | None = None  # made when there is something to ask

    def run_stage(self, said: Mapping[str, Any], show: Progress) -> StageResult:
        """Ask what was not answered yet; attach to another process that does. Raises WrongInput for an
        endpoint that cannot be asked."""
        endpoint = self.settings.endpoint
        check_addresses(endpoint, addresses(endpoint))
        if self.key:
            check_key_may_travel(endpoint)
        request = runs.Request(stage_of(self.method.name, self.id), said, digest(*self.wanted), CODE)
        result = run_stage(self.workspace, request, self._run, show, again=True)
        result.report = {**report_of(self.db, self.id, self.wanted, self.draws), **result.report}
        return result

    def _run(self, stage: Stage) -> Report:
        try:
            with self._alone(stage):
                self._open(stage)
                asked = self._ask(stage)
        finally:
            if self._teacher is not None:
                self._teacher.end()  # nobody may have entered it
        stopped = "Stopped by a person; go on whenever you like" if asked.is_stopped else None
        paused = asked.paused or stopped or self._why_unasked()
        with self.db.transaction() as connection:
            calls.settle_orphans(connection, self.id)  # those that a stop gave up in flight
            generations.pause(connection, self.id, paused)
        if asked.is_stopped:
            raise KeyboardInterrupt  # the stage tells it as it tells every Ctrl-C
        counted = report_of(self.db, self.id, self.wanted, self.draws)
        report = {**counted, "calls": asked.attempts, "paused": paused}
        with stage.finishing() as connection:
            runs.finish(connection, stage.run_id, report)
        return report

    @contextmanager
    def _alone(self, stage: Stage) -> Iterator[None]:
        """Wait until no generation of another name asks the same teacher in the same way: two at once would
        send the same calls, and both be billed. One after the other, the second takes the replies."""
        asked = self.settings
        parameters = json.dumps(asked.parameters(0), sort_keys=True)
        name = digest(self.method.name, asked.model, asked.endpoint.base_url, parameters)
        while True:
            with tried(self.workspace.folder / f"asking-{name[:12]}.lock") as is_ours:
                if is_ours:
                    yield
                    return
            stage.progress("waiting for another run that asks the same teacher", 0, 0)
            time.sleep(WATCH_SECONDS)

    def _open(self, stage: Stage) -> None:
        """Write down what is wanted. Calls of a killed process are settled: nobody knows their replies, but
        for those in a batch."""
        facts = {
            "method": self.method.name, "name": self.label, "model": self.settings.model,
            "endpoint": self.settings.endpoint.base_url, "prompt_hash": self.prompt.hash,
            "settings": said_of(self.settings),
        }  # fmt: skip
        with self.db.transaction() as connection:
            prompt_shelf.keep(connection, self.prompt)
            generations.open_generation(connection, self.id, facts)
            _settle_batches(connection, self.id, self.settings.give_up_batches)
            calls.settle_orphans(connection, self.id)
            known = generations.known_items(connection, self.id)
        new = [id for id in self.wanted if any((id, draw) not in known for draw in range(self.draws))]
        if new and self.settings.mode == "now":
            self._opened_teacher().start()  # while we write
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
        paid: list[Answer] = []
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
                paid.append((call, outcome_in(there[call.id])))
            else:
                asked.append(call)
        if out or paid:
            with self.db.transaction() as connection:
                generations.decide(connection, self.id, out)
                self._keep(connection, paid)  # by another generation
        return asked

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
            if not there:
                yield [call]
                continue
            with self.db.transaction() as connection:  # another generation paid for it
                self._keep(connection, [(call, outcome_in(there[0]))])

    def _ask(self, stage: Stage) -> Asked:
        passes = [self._free(pages) for pages in (self._first_calls(), self._repairs())]
        if self.settings.mode == "batch":
            return self._ask_in_batches(stage, passes)
        for number, every in enumerate(passes):
            if (first := next(every, None)) is not None:
                return self._ask_all(stage, [chain([first], every), *passes[number + 1 :]])
        return Asked()  # without a process to ask with, which takes a second to start

    def _ask_all(self, stage: Stage, passes: Sequence[Iterator[Call]]) -> Asked:
        asked = self.settings
        limits = replace(self.limits, concurrency=asked.concurrency, deadline=asked.deadline)
        return ask_all(
            self._opened_teacher(), passes, lambda: CallLog(self.db, self.id, self._keep), self._budget(),
            limits, stage.progress, len(self.wanted) * self.draws,
        )  # fmt: skip

    def _opened_teacher(self) -> Teacher:
        if self._teacher is None:
            asked = self.settings
            self._teacher = self.open_teacher(
                asked.endpoint.base_url, self.key, asked.deadline, asked.concurrency
            )
        return self._teacher

    def _ask_in_batches(self, stage: Stage, passes: Sequence[Iterator[Call]]) -> Asked:
        """Ask in batches, one pass after the other; living batches are followed even if no call is free."""
        asked, total = self.settings, len(self.wanted) * self.draws
        log = BatchLog(self.db, self.id, self._keep, self._position_of)
        sizes = BatchLimits(asked.batch_size, asked.poll)
        came_to, attempts = Asked(), 0
        with BatchTeacher(asked.endpoint.base_url, self.key, asked.deadline) as teacher:
            for every in passes:
                came_to = ask_in_batches(teacher, every, log, self._budget(), sizes, stage.progress, total)
                attempts += came_to.attempts
                if came_to.paused or came_to.is_stopped:
                    break
        return replace(came_to, attempts=attempts)

    def _budget(self) -> Budget:
        """Give what is left to spend: living batches hold the worst case of their calls."""
        with self.db.reading() as connection:
            ids = dict.fromkeys([self.id, *self.beside])
            used = [calls.spent(connection, id) for id in ids]
            held = [batches.reserved(connection, id) for id in ids]
        asked = self.settings
        spent = [sum(one) for one in zip(*used, strict=True)]
        budget = Budget(asked.budget_tokens, asked.prices, asked.budget_money, *spent)
        for one in held:
            budget.hold(*one)
        return budget

    def _free(self, pages: Iterator[list[Call]]) -> Iterator[Call]:
        """Give the calls that no living batch holds, whichever generation made it: they are under way."""
        for page in pages:
            with self.db.reading() as connection:
                held = batches.held(connection, [call.id for call in page])
            self._in_batches |= held
            for call in page:
                if call.id not in held:
                    yield call
                else:
                    self._expected.pop(call.id, None)

    def _why_unasked(self) -> str | None:
        """Say that calls wait for a batch that nobody follows now."""
        with self.db.reading() as connection:
            held = batches.held(connection, self._in_batches)
        told = "Their replies are fetched with --batch, by the generation that made it"
        return f"Calls that are in a batch which has not ended: {len(held):,}. {told}" if held else None

    def _position_of(self, call: Call) -> int:
        """Give the item that a call answers. It may be answered days later: see `_recalled`."""
        return int(self._expected.pop(call.id)[0].position)

    def _recalled(self, connection: Connection, ids: Sequence[str]) -> None:
        """Read what calls in batches are to answer; not of subjects that are gone."""
        rows = batches.items_of(connection, self.id, ids)
        found = self.method.subjects(connection, [row.subject for row in rows])
        for row in rows:
            if row.subject in found:
                self._expected[row.asked_id] = (row, found[row.subject], row.asked_id != row.call_id)

    def _keep(self, connection: Connection, answers: Sequence[Answer]) -> None:
        """Decide on final answers. One that is on record and was not decided on is taken by the next run."""
        if unknown := [call.id for call, _ in answers if call.id not in self._expected]:
            self._recalled(connection, unknown)
        finals = [
            Final(call, outcome, *self._expected.pop(call.id))
            for call, outcome in answers
            if call.id in self._expected
        ]
        if finals:
            generations.decide(connection, self.id, self.method.keep(connection, finals))


def _settle_batches(connection: Connection, id: str, give_up: bool) -> None:
    """Drop batches that were never created. With `give_up` close the others, too, as paid for and lost."""
    for one in batches.living(connection, id):
        if one.state == batches.WRITTEN:
            told = "The process stopped before the batch was created; nothing was billed"
            ending = batches.Ending(batches.DROPPED, told, "batch_dropped", told, is_lost=False)
        elif give_up:
            told = "A person gave the batch up; it may have been billed"
            ending = batches.Ending(batches.GIVEN_UP, told, "batch_given_up", told, is_lost=True)
        else:
            continue
        batches.end(connection, one.name, ending, {})


def outcome_in(row: Row[Any]) -> Outcome:
    """Read the outcome out of a stored call that was answered whole."""
    return outcome_of(200, {}, "application/json", calls.unpack(row.reply))


def generation_id(method: str, label: str, settings: TeacherSettings, prompt: Prompt) -> str:
    """Name a way of asking: what changes it makes new calls, and another generation."""
    parameters = json.dumps(settings.parameters(0), sort_keys=True)
    return digest(method, label, settings.model, settings.endpoint.base_url, prompt.hash, parameters)


def stage_of(method: str, id: str) -> str:
    """Name the stage that a generation is worked on as."""
    return f"{method}:{id[:16]}"


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
        made = batches.of_generation(connection, id)
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
        "batches": [
            {"id": one.id or one.name, "state": one.state, "calls": one.calls, "lines": one.report,
             "message": one.message}
            for one in made
        ],
        "paused": None,
    }  # fmt: skip
