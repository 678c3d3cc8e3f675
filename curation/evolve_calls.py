"""The three calls of an evolution: rewrite the task, compare the two, answer the new one.

Each is a method of `asking`, and its subjects are steps. So each call is on record before it is sent, none is
paid for twice, and what a reply does to its step is written in the transaction that decides on the reply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.asking import API_SEED, Final, TeacherSettings
from curation.call_log import used_by
from curation.call_outcome import Completion
from curation.elimination import (
    UNREAD,
    Eliminated,
    answer_fault,
    equality_in,
    task_fault,
)
from curation.heuristics import heuristics
from curation.instruction_flags import flag_counts
from curation.oss_instruct import SURROGATE, repair_messages
from curation.prompt import Prompt, delimiters, messages, tag_for
from curation.records import Sample
from curation.reply import ended_badly
from curation.store import evolutions, samples
from curation.store.database import Connection, Row
from curation.store.evolutions import ANSWER, COMPARE, FAILED, KEPT, REJECTED, REWRITE, WAITING
from curation.store.generations import REPAIR, Decided
from curation.teacher import Call

METHOD = evolutions.METHOD
READER = "1"  # goes up when a reply is read differently
CALLS = {REWRITE: "evolve", COMPARE: "equality", ANSWER: "evolve-answer"}  # phase: method of its prompts
REDO_SHIFT = 100  # of the seed: rounds stay below it, so that no two draws of a task share one
SAMPLING = 0.9  # top_p of rewriting and answering (recipes 2.1, 2.9)


@dataclass(frozen=True)
class Making:
    """What the steps of an evolution have in common."""

    evolution: str  # its id
    name: str  # label of the samples
    compares: bool  # whether rule 1 asks a model
    checks: Sequence[str] = ()  # of the reproductions
    makes_samples: bool = True  # False: a preview ends with the new task
    rewrite_prompt: str = ""  # hash, for the samples


def task_of(step: Row[Any]) -> str:
    """Give the task that a step rewrites, as a teacher reads it: instruction, and input when there is one."""
    return f"{step.instruction}\n\n{step.input}" if step.input else str(step.instruction)


@dataclass(frozen=True)
class _OfSteps:
    """What the three methods share."""

    prompt: Prompt
    settings: TeacherSettings
    making: Making
    name: str = ""

    def subjects(self, connection: Connection, ids: Sequence[str]) -> Mapping[str, Row[Any]]:
        return evolutions.subjects(connection, ids)

    def messages(self, step: Row[Any]) -> list[dict[str, str]]:
        raise NotImplementedError

    def call(self, subject: Row[Any], draw: int) -> Call:
        """Make the question. Another round or redo of the same task is another call: a new draw."""
        return self.settings.call(self.prompt, self.messages(subject), _draw(subject), _shift(subject))

    def _said(self, step: Row[Any], word: str, *texts: str, **values: str) -> list[dict[str, str]]:
        # The parent's id is part of the tag, so that two equal tasks are two calls, each with its own child.
        tag = tag_for("\n".join(texts), str(API_SEED), self.name, step.parent_id, _draw(step))
        begin, end = delimiters(tag, word)
        return messages(self.prompt, begin=begin, end=end, **values)

    def may_be_repaired(self, reason: str | None) -> bool:
        return False

    def repair(self, subject: Row[Any], draw: int, reply: str) -> Call | None:
        return None


def _draw(step: Row[Any]) -> str:
    return f"{step.round}.{step.redo}"


def _shift(step: Row[Any]) -> int:
    """Give what is added to the seed, another for each draw."""
    return int(step.round + REDO_SHIFT * step.redo)


def _ended_badly(said: Completion) -> Eliminated | None:
    badly = ended_badly(said)
    return None if badly is None else Eliminated(*badly)


def _failed(one: Final, **more: Any) -> tuple[dict[str, Any], Decided]:
    """Note a call that got no answer. The parent goes back, as after an elimination."""
    said = {"said": one.outcome.message}
    return (
        {"id": one.subject.id, "state": FAILED, "rule": one.outcome.reason, "evidence": said, **more},
        Decided(one.item.position, FAILED, one.outcome.reason, said),
    )


def _eliminated(one: Final, found: Eliminated, **more: Any) -> tuple[dict[str, Any], Decided]:
    changed = {"id": one.subject.id, "state": REJECTED, "rule": found.rule, "evidence": found.evidence}
    repair = one.call.id if one.is_repair else None
    decided = Decided(
        one.item.position, REJECTED, found.rule, found.evidence, parser=READER, repair_id=repair
    )
    return {**changed, **more}, decided


@dataclass(frozen=True)
class Rewriting(_OfSteps):
    """Evolve: one heuristic, one task, one new task (WizardCoder, section 3.1)."""

    name: str = CALLS[REWRITE]

    def messages(self, step: Row[Any]) -> list[dict[str, str]]:
        task = task_of(step)
        method = heuristics()[step.heuristic].method
        return self._said(step, "exercise", task, instruction=task, method=method)

    def keep(self, connection: Connection, finals: Sequence[Final]) -> Sequence[Decided]:
        return _write(connection, finals, [self._read(one) for one in finals])

    def _read(self, one: Final) -> tuple[dict[str, Any], Decided]:
        step, said = one.subject, one.outcome.completion
        called = {"rewrite_call": one.call.id}
        if said is None:
            return _failed(one, **called)
        task = SURROGATE.sub("\ufffd", said.content.strip())
        found = _ended_badly(said) or self._fault(step, task, said)
        if found is not None:
            return _eliminated(one, found, task=task or None, **called)
        flags = flag_counts(task)
        ready = {"id": step.id, "task": task, "rule": None, "evidence": {}, **called}
        decided = Decided(one.item.position, KEPT, flags=flags, parser=READER)
        if not self.making.makes_samples:
            return {**ready, "state": KEPT}, decided
        following = COMPARE if self.making.compares else ANSWER
        return {**ready, "state": WAITING, "phase": following}, decided

    def _fault(self, step: Row[Any], task: str, said: Completion) -> Eliminated | None:
        sent = "\n".join(one["content"] for one in self.messages(step))
        return task_fault(task, task_of(step), sent, said.tokens_out, self.making.checks)


@dataclass(frozen=True)
class Comparing(_OfSteps):
    """Rule 1: a model says whether the two tasks are equal (WizardLM, section 3.2)."""

    name: str = CALLS[COMPARE]

    def messages(self, step: Row[Any]) -> list[dict[str, str]]:
        old = task_of(step)
        return self._said(step, "task", old, step.task, first=old, second=step.task)

    def may_be_repaired(self, reason: str | None) -> bool:
        return bool(self.prompt.repair) and reason == UNREAD

    def repair(self, subject: Row[Any], draw: int, reply: str) -> Call | None:
        again = repair_messages(self.prompt, self.messages(subject), reply)
        return self.settings.call(self.prompt, again, f"{_draw(subject)} repair", _shift(subject))

    def keep(self, connection: Connection, finals: Sequence[Final]) -> Sequence[Decided]:
        return _write(connection, finals, [self._read(one) for one in finals])

    def _read(self, one: Final) -> tuple[dict[str, Any], Decided]:
        said, called = one.outcome.completion, {"compare_call": one.call.id}
        if said is None and one.is_repair:  # what the first reply said still holds
            told = Eliminated(UNREAD, {**one.item.evidence, REPAIR: one.outcome.message})
            changed, decided = _eliminated(one, told)
            return changed, Decided(decided.position, REJECTED, UNREAD, told.evidence, parser=READER)
        if said is None:
            return _failed(one, **called)
        verdict = None if _ended_badly(said) else equality_in(said.content)
        if verdict == "not equal":
            ready = {"id": one.subject.id, "phase": ANSWER, "state": WAITING, "rule": None}
            repair = one.call.id if one.is_repair else None
            decided = Decided(one.item.position, KEPT, parser=READER, repair_id=repair)
            return {**ready, "evidence": {}, **called}, decided
        return _eliminated(one, _unequal(said, verdict, one.is_repair), **called)


def _unequal(said: Completion, verdict: str | None, is_repair: bool) -> Eliminated:
    heard = {"said": said.content[:200], "by": "a model"}
    if verdict == "equal":
        return Eliminated("equal", heard)
    badly = _ended_badly(said)
    told = {**heard, **({"ended": badly.rule} if badly else {})}
    return Eliminated(UNREAD, {**told, **({REPAIR: "asked once more, in vain"} if is_repair else {})})


@dataclass(frozen=True)
class Answering(_OfSteps):
    """Answer: the new task and its answer become a sample (WizardCoder, section 3.1)."""

    name: str = CALLS[ANSWER]

    def messages(self, step: Row[Any]) -> list[dict[str, str]]:
        return self._said(step, "exercise", step.task, instruction=step.task)

    def keep(self, connection: Connection, finals: Sequence[Final]) -> Sequence[Decided]:
        made: list[Sample] = []
        out = [self._read(one, made) for one in finals]
        samples.add(connection, made)
        for changed, _ in out:
            if changed.get("child") is not None:
                changed["child"] = samples.seq_of(connection, changed["child"])
        return _write(connection, finals, out)

    def _read(self, one: Final, made: list[Sample]) -> tuple[dict[str, Any], Decided]:
        step, said, called = one.subject, one.outcome.completion, {"answer_call": one.call.id}
        if said is None:
            return _failed(one, **called)
        answer = SURROGATE.sub("\ufffd", said.content.strip())
        tokens = None if said.tokens_in is None else said.tokens_in + (said.tokens_out or 0)
        found = _ended_badly(said) or answer_fault(answer, tokens, self.making.checks)
        if found is not None:
            return _eliminated(one, found, **called)
        flags = flag_counts(step.task, answer)
        child = sample_of(step, answer, one.call, self.making, flags)
        made.append(child)
        ready = {
            "id": step.id, "state": KEPT, "rule": None, "evidence": {}, "child": child.id, **called,
            **words_of(task_of(step), step.task, answer),
        }  # fmt: skip
        return ready, Decided(one.item.position, KEPT, flags=flags, sample_id=child.id, parser=READER)


def words_of(before: str | None, task: str, answer: str) -> dict[str, int | None]:
    """Count the words that a report tells of: of the old task (None: not known), the new one, its answer."""
    return {
        "words_before": None if before is None else len(before.split()), "words": len(task.split()),
        "answer_words": len(answer.split()),
    }  # fmt: skip


def sample_of(
    step: Row[Any], answer: str, call: Call | Row[Any], making: Making, flags: Mapping[str, int]
) -> Sample:
    """Make the sample of an evolution that lives. Its id is its call's (design, "Ids"); source and licence
    are its parent's: what binds a data set binds what was made of it (recipes 2.8)."""
    return Sample(
        id=call.id,
        instruction=step.task,
        input="",
        response=answer,
        source=step.source,
        row=None,
        name=making.name,
        licence=step.licence,
        method=METHOD,
        seed_id=step.seed_id,
        extra={
            "parent": step.parent_id, "root": step.root_id, "round": step.round, "heuristic": step.heuristic,
            "model": call.model, "endpoint": call.endpoint, "prompt": making.rewrite_prompt,
            "answer_prompt": call.prompt_hash, "evolution": making.evolution, "step": step.id,
            **({"flags": dict(flags)} if flags else {}),
        },
    )  # fmt: skip


def _write(
    connection: Connection, finals: Sequence[Final], out: Sequence[tuple[Mapping[str, Any], Decided]]
) -> Sequence[Decided]:
    """Write what became of steps, those with the same columns together, and what the replies took."""
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for changed, _ in out:
        alike.setdefault(tuple(sorted(changed)), []).append(changed)
    for rows in alike.values():
        evolutions.change(connection, rows)
    evolutions.spend(connection, [(one.subject.id, *used_by(one.call, one.outcome)) for one in finals])
    return [decided for _, decided in out]
