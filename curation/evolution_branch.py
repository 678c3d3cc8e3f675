"""One branch of a family tree: cut it off, put it back, grow it anew, or keep what a rule eliminated.

Nothing is deleted. A branch that is cut stays in its tree, and its samples are rejected in the name of the
person, so that `clean` drops them with that reason; putting it back takes both back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.asking import outcome_in
from curation.call_round import Limits
from curation.elimination import EMPTY_TASK, RULES
from curation.endpoint import Endpoint, read_endpoint
from curation.errors import WrongInput
from curation.evolve import Evolving, Prompts, Settings, settings_of
from curation.evolve_calls import CALLS, Making, sample_of, task_of, words_of
from curation.prompt_shelf import prompt_of_hash
from curation.stage import Progress, StageResult, silent
from curation.store import calls, evolutions, sample_words, samples
from curation.store.database import Connection, Row
from curation.store.evolutions import ANSWER, COMPARE, KEPT, PRUNED, REDONE, REJECTED, REWRITE, WAITING
from curation.teacher import Teacher
from curation.workspace import Workspace

DEFAULT = Limits()
NOTES = {
    PRUNED: "its branch of the family tree was pruned",
    REDONE: "its branch of the family tree was redone",
}


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it."""

    step: str
    changed: bool
    message: str


def prune(workspace: Workspace, id: str, person: str = "me") -> Done:
    """Cut a step and all that grew from it. Later rounds go on from its parent. Raises WrongInput."""
    step = find_step(workspace, id)
    with workspace.database.transaction() as connection:
        number = _cut(connection, branch_of(connection, step), PRUNED, person)
    if not number:
        return Done(step.id, False, f"{step.id[:12]} is cut already")
    return Done(step.id, True, f"Pruned: {number:,} attempts; their samples are rejected")


def restore(workspace: Workspace, id: str, person: str = "me") -> Done:
    """Put a pruned step back, and all that was pruned with it. Raises WrongInput.

    One in whose place another attempt stands stays cut: two of a round would both be grown from.
    """
    step = find_step(workspace, id)
    with workspace.database.transaction() as connection:
        branch = branch_of(connection, step)
        _check_may_live(connection, branch[0])
        back = [one for one in branch if one.cut == PRUNED]
        evolutions.change(connection, [{"id": one.id, "cut": None, "cut_by": None} for one in back])
        for one in back:
            _take_back(connection, one, person)
    if not back:
        return Done(step.id, False, f"{step.id[:12]} is not pruned")
    return Done(step.id, True, f"Put back: {len(back):,} attempts and their samples")


def _check_may_live(connection: Connection, step: Row[Any]) -> None:
    if step.cut == REDONE:
        raise WrongInput("Another attempt stands in its place; prune or redo that one instead")
    for one in evolutions.of_root(connection, step.evolution_id, step.root):
        if one.child is not None and one.child == step.parent and one.cut is not None:
            raise WrongInput(f"It grew from {one.id[:12]}, which is cut: put that one back first")


def redo(
    workspace: Workspace, id: str, key: str | None, given: Mapping[str, Any] | None = None,
    person: str = "me", show: Progress = silent, limits: Limits = DEFAULT,
    open_teacher: type[Teacher] = Teacher,
) -> StageResult:  # fmt: skip
    """Cut a step and all that grew from it, and make the same rounds of this tree anew; ask nothing else.

    `given`: what may differ from the settings of its evolution, such as a budget. The same call again goes on
    with what was not answered. Raises WrongInput for a step of an imported round, whose teacher nobody knows.
    """
    step = find_step(workspace, id)
    evolution = _evolution_of(workspace, step)
    settings = settings_from(evolution, given or {})
    with workspace.database.reading() as connection:
        branch = branch_of(connection, step)
        roots = samples.ids_of(connection, [step.root])
    again = Evolving(
        workspace, settings, key, only=roots, rounds=sorted({one.round for one in branch}),
        prompts=prompts_from(workspace, evolution), limits=limits,
        open_teacher=open_teacher,
    )  # fmt: skip
    if again.id != evolution.id:
        raise WrongInput("Model, endpoint, prompts and heuristics are those of its evolution; leave them out")
    with workspace.database.transaction() as connection:
        _cut(connection, branch, REDONE, person)
    return again.run(show)


def keep_anyway(workspace: Workspace, id: str, person: str = "me") -> Done:
    """Set aside the rule that eliminated a step. One that is answered becomes a sample at once; one that is
    not waits for its answer, which the next `evolve` asks for. Raises WrongInput when there is nothing to
    keep.
    """
    step = find_step(workspace, id)
    if step.state != REJECTED:
        return Done(step.id, False, f"{step.id[:12]} is {step.state}: no rule stands against it")
    if step.cut is not None:
        raise WrongInput("Its branch is cut; put it back first")
    if step.rule not in RULES or step.rule == EMPTY_TASK or not step.task:
        raise WrongInput("The teacher gave nothing that could be kept; redo it instead")
    told = {
        "id": step.id,
        "overruled": [*step.overruled, {"rule": step.rule, "person": person}],
        "rule": None,
    }
    with workspace.database.transaction() as connection:
        if step.phase == ANSWER:
            evolutions.change(connection, [{**told, "state": KEPT, **_answered(connection, step)}])
        else:
            evolutions.change(connection, [{**told, "state": WAITING, "phase": ANSWER}])
    what = "it is a sample now" if step.phase == ANSWER else "the next run asks for its answer"
    return Done(step.id, True, f"Kept in spite of the rule: {what}")


def _answered(connection: Connection, step: Row[Any]) -> dict[str, Any]:
    """Make the sample of an answer that is on record."""
    call = calls.find_in(connection, step.answer_call)
    said = outcome_in(call).completion if call is not None else None
    if call is None or said is None or not said.content.strip():
        raise WrongInput("The teacher gave nothing that could be kept; redo it instead")
    evolution = evolutions.find_in(connection, step.evolution_id)
    subject = evolutions.subjects(connection, [step.id])[step.id]
    prompts = evolution.settings.get("prompts", {})
    making = Making(evolution.id, evolution.name, True, rewrite_prompt=prompts.get(CALLS[REWRITE], ""))
    answer = said.content.strip()
    child = sample_of(subject, answer, call, making, {})
    samples.add(connection, [child])
    seq = samples.seq_of(connection, child.id)
    return {"child": seq, **words_of(task_of(subject), step.task, answer)}


def endpoint_of(workspace: Workspace, id: str) -> Endpoint:
    """Give the endpoint that redoing a step asks. Raises WrongInput when there is no such step."""
    return read_endpoint(_evolution_of(workspace, find_step(workspace, id)).settings["base_url"])


def _evolution_of(workspace: Workspace, step: Row[Any]) -> Row[Any]:
    evolution = evolutions.find(workspace.database, step.evolution_id)
    if evolution is None or evolution.kind != evolutions.EVOLVED:
        raise WrongInput("It was imported, or is a preview: evolve its set with `evolve --from NAME`")
    return evolution


# --- what a branch is ---


def find_step(workspace: Workspace, id: str) -> Row[Any]:
    """Give the step of this id, or whose id begins so. Raises WrongInput for none, or more than one."""
    with workspace.database.reading() as connection:
        found = evolutions.step_like(connection, id)
    if found is None:
        raise WrongInput(
            f"No step, or more than one, has an id that begins with {id!r}; `evolution tree` tells them"
        )
    return found


def branch_of(connection: Connection, step: Row[Any]) -> list[Row[Any]]:
    """Give a step and everything that grew from it, by round."""
    found, grown = [], {step.child} - {None}
    for one in evolutions.of_root(connection, step.evolution_id, step.root):
        if one.id == step.id:
            found.append(one)
        elif one.round > step.round and one.parent in grown:
            found.append(one)
            grown |= {one.child} - {None}
    return found


def _cut(connection: Connection, branch: Sequence[Row[Any]], how: str, person: str) -> int:
    """Cut what is alive of a branch, and reject its samples. A redone one counts as cut for good."""
    alive = [one for one in branch if one.cut is None or (how == REDONE and one.cut == PRUNED)]
    evolutions.change(connection, [{"id": one.id, "cut": how, "cut_by": person} for one in alive])
    for one in alive:
        newest = None if one.child is None else sample_words.newest(connection, one.child)
        if one.child is not None and (newest is None or newest.word != sample_words.REJECT):
            sample_words.add(connection, one.child, sample_words.REJECT, person, NOTES[how])
    return len(alive)


def _take_back(connection: Connection, step: Row[Any], person: str) -> None:
    """Take the rejection back that pruning was; one for another reason stays."""
    newest = None if step.child is None else sample_words.newest(connection, step.child)
    if newest is not None and newest.word == sample_words.REJECT and newest.note == NOTES[PRUNED]:
        sample_words.add(connection, step.child, sample_words.NONE, person, "its branch was put back")


# --- how an evolution was made ---


def settings_from(evolution: Row[Any], given: Mapping[str, Any]) -> Settings:
    """Give the settings of an evolution as they were last, with what is given in their place."""
    known = set(Settings.__dataclass_fields__) - {"ids", "limit"}
    told = {name: value for name, value in evolution.settings.items() if name in known}
    return settings_of({**told, "prompt": evolution.settings["prompts"][CALLS[REWRITE]], **given})


def prompts_from(workspace: Workspace, evolution: Row[Any]) -> Prompts:
    """Give the prompts that an evolution was made with."""
    hashes = evolution.settings["prompts"]
    return Prompts(*(prompt_of_hash(workspace, hashes[CALLS[one]]) for one in (REWRITE, COMPARE, ANSWER)))
