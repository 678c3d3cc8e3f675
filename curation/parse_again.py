"""Parse again: replies on record are read by the parser as it is now. Nobody is asked, nothing is paid.

A reply that was rejected and can be read now becomes a sample, under the id that it would have had at once;
one that is rejected for another reason gets that reason. What is kept stays as it is: a sample that the
parser would refuse today is told, never taken away, and no text of a sample changes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from curation.asking import outcome_in
from curation.errors import WrongInput
from curation.oss_instruct import PARSER
from curation.records import Sample
from curation.reply import METHOD, Verdict, made_of, verdict_on
from curation.stage import Progress, Report, Stage, run_stage, silent
from curation.store import calls, generations, runs, samples
from curation.store.database import Connection, Row
from curation.store.generations import FAILED, KEPT, REJECTED, Decided
from curation.workspace import Workspace

CODE = "1"
PAGE = 500  # replies of one transaction
MOST_TOLD = 50  # ids of samples that would be rejected
SHORTEST_ID = 6  # characters that may stand for the id of a generation


def parse_again(workspace: Workspace, generation_id: str | None = None, show: Progress = silent) -> Report:
    """Read every whole reply of a generation again (None: of all). The same call again changes nothing.

    The report: generations, read (replies), now_kept, changed_reason {"old -> new": n}, would_reject
    {reason: n} of what is kept, would_reject_ids (of samples, at most 50). Waits for a generation that is at
    work elsewhere. Raises WrongInput when there is no such generation.
    """
    told = _Told()
    chosen = _chosen(workspace, generation_id)
    for generation in chosen:
        # Under the name of the generation's own stage: neither works while the other does.
        name, said = f"{METHOD}:{generation.id[:16]}", {"parse_again": PARSER}
        request = runs.Request(name, said, generation.id, CODE)
        work = _Rereading(generation)
        told.add(run_stage(workspace, request, work.run, show, again=True).report)
    return {"generations": len(chosen), **told.report()}


def _chosen(workspace: Workspace, id: str | None) -> list[Row[Any]]:
    known = generations.all_of(workspace.database)
    if id is None:
        found = [one for one in known if one.method == METHOD]
        if not found:
            raise WrongInput("No teacher has replied yet; ask one with `generate`")
        return found
    found = [one for one in known if one.id == id]
    if not found and len(id) >= SHORTEST_ID:
        found = [one for one in known if one.id.startswith(id)]
    if len(found) != 1:
        raise WrongInput(f"No generation, or more than one, has an id that begins with {id!r}")
    if found[0].method != METHOD:
        raise WrongInput(f"{found[0].id} is a generation of {found[0].method}; only {METHOD} has sections")
    return found


@dataclass
class _Told:
    """What was found so far."""

    read: int = 0
    now_kept: int = 0
    changed_reason: Counter[str] = field(default_factory=Counter)
    would_reject: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)

    def add(self, report: Mapping[str, Any]) -> None:
        self.read += report["read"]
        self.now_kept += report["now_kept"]
        self.changed_reason.update(report["changed_reason"])
        self.would_reject.update(report["would_reject"])
        self.tell(report["would_reject_ids"])

    def tell(self, ids: Iterable[str]) -> None:
        self.ids = [*self.ids, *ids][:MOST_TOLD]

    def report(self) -> Report:
        return {
            "read": self.read,
            "now_kept": self.now_kept,
            "changed_reason": dict(self.changed_reason.most_common()),
            "would_reject": dict(self.would_reject.most_common()),
            "would_reject_ids": self.ids,
        }


@dataclass(frozen=True, slots=True)
class _Reading:
    """A reply that was rejected, as it is read now."""

    item: Row[Any]
    verdict: Verdict
    call_id: str  # of the reply that was read
    repair_id: str | None

    @property
    def evidence(self) -> Mapping[str, Any]:
        """Give its evidence; that it was asked for once more stays told."""
        if self.verdict.state == KEPT:
            is_unused = self.item.repair_id is not None and self.repair_id is None
            return {"unused_repair": self.item.repair_id} if is_unused else {}
        repair = self.item.evidence.get("repair")
        return {**self.verdict.evidence, **({} if repair is None else {"repair": repair})}

    @property
    def decided(self) -> Decided:
        one = self.verdict
        return Decided(
            self.item.position, one.state, one.reason, self.evidence, one.flags, None, one.parser,
            self.repair_id,
        )  # fmt: skip


class _Rereading:
    """One generation whose replies are read again."""

    def __init__(self, generation: Row[Any]) -> None:
        self._generation = generation
        self._makes_samples = not generation.settings.get("is_trial")
        self._told = _Told()

    def run(self, stage: Stage) -> Report:
        id = self._generation.id
        with stage.db.reading() as connection:
            counted = generations.counts(connection, id)
        total = sum(sum(counted[state].values()) for state in (KEPT, REJECTED))
        for page in _pages(generations.stream_items(stage.db, id, (KEPT, REJECTED))):
            self._read(stage, page)
            stage.progress("reading replies again", self._told.read, total)
        with stage.finishing() as connection:
            runs.finish(connection, stage.run_id, self._told.report())
        return self._told.report()

    def _read(self, stage: Stage, page: Sequence[Row[Any]]) -> None:
        """Read a page of replies, and keep what is new of them in one transaction."""
        whole = [one for one in page if one.call_state == calls.DONE]
        rejected = [one for one in whole if one.state == REJECTED]
        with stage.db.reading() as connection:
            repaired = [one.call_id for one in rejected if one.repair_id is not None]
            first = {row.id: row for row in calls.done(connection, repaired)}
        readings = [_reading(one, first.get(one.call_id)) for one in rejected]
        for one in whole:
            if one.state == KEPT:
                self._look_at_kept(one)
        with stage.db.transaction() as connection:
            self._keep(connection, [one for one in readings if one.verdict.state != FAILED])
        self._told.read += len(whole)

    def _look_at_kept(self, item: Row[Any]) -> None:
        verdict = verdict_on(outcome_in(item))
        if verdict.state != KEPT:
            self._told.would_reject[verdict.reason or ""] += 1
            self._told.tell([item.sample_id] if item.sample_id else [])

    def _keep(self, connection: Connection, readings: Sequence[_Reading]) -> None:
        good = [one.item.subject for one in readings if one.verdict.state == KEPT]
        seeds = generations.seeds_of(connection, good)
        made: list[Sample] = []
        decided: list[Decided] = []
        for one in readings:
            seed = seeds.get(one.item.subject)
            if one.verdict.state == KEPT and seed is None:
                one = _without_seed(one)
            now = one.decided
            if now.state == KEPT and self._makes_samples:
                assert seed is not None
                made.append(self._sample(one, seed))
                now = replace(now, sample_id=made[-1].id)
            decided.append(now)
            self._count(one.item, now)
        samples.add(connection, made)
        generations.decide(connection, self._generation.id, decided)

    def _sample(self, one: _Reading, seed: Row[Any]) -> Sample:
        by = self._generation
        return made_of(
            one.verdict, one.call_id, by.model, by.endpoint, by.prompt_hash, seed, by.name, one.item.draw
        )

    def _count(self, before: Row[Any], now: Decided) -> None:
        if now.state == KEPT:
            self._told.now_kept += 1
        elif now.reason != before.reason:
            self._told.changed_reason[f"{before.reason} -> {now.reason}"] += 1


def _pages(items: Iterator[Row[Any]]) -> Iterator[list[Row[Any]]]:
    while page := list(islice(items, PAGE)):
        yield page


def _reading(item: Row[Any], first: Row[Any] | None) -> _Reading:
    """Read the reply that decided on an item; when that is the second one and no good, the first as well."""
    verdict = verdict_on(outcome_in(item))
    if verdict.state != KEPT and first is not None:
        earlier = verdict_on(outcome_in(first))
        if earlier.state == KEPT:
            return _Reading(item, earlier, item.call_id, None)
    return _Reading(item, verdict, item.decisive_id, item.repair_id)


def _without_seed(one: _Reading) -> _Reading:
    """Refuse a good reply whose seed is gone: a sample's origin must be readable."""
    verdict = Verdict(REJECTED, "seed_gone", {"of": one.item.subject}, parser=PARSER)
    return replace(one, verdict=verdict, repair_id=one.item.repair_id)
