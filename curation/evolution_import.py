"""A round that somebody else evolved: its rows are linked to the set that they came of, and looked at by the
rules of elimination. Rows stay as they were imported; what a rule finds is a step that says so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from curation.elimination import answer_fault, task_fault
from curation.errors import WrongInput
from curation.evolution_report import report_of
from curation.evolve_calls import words_of
from curation.parent_links import Link, links
from curation.records import digest, question_of
from curation.stage import Progress, Report, silent
from curation.store import evolutions, sample_words, samples
from curation.store.database import Connection, Row
from curation.store.evolutions import ANSWER, IMPORTED, KEPT, REJECTED
from curation.workspace import Workspace

PAGE = 500
SHARES = 4  # digits kept of a share


def link_round(
    workspace: Workspace, file_hash: str, name: str, round: int, parents: str, show: Progress = silent
) -> Report:
    """Link the rows of an imported file to the set that they were evolved from, as a round of it.

    Gives evolution, round, linked (parents recognised), whole (those whose text stands in the child as it
    was), unlinked, and the counts of the round as `evolve` tells them. The same call again changes nothing.
    Raises WrongInput when there is no such set, or round.
    """
    check_round(workspace, round, parents)
    with workspace.database.reading() as connection:
        children = samples.of_file(connection, file_hash)
        old = samples.of_set(connection, parents)
        came_of = evolutions.steps_of_children(connection, [row.seq for row in old])
    known = {step.evolution_id for step in came_of.values()}
    id = known.pop() if len(known) == 1 else digest(IMPORTED, parents)
    old = [row for row in old if row.file_hash != file_hash]
    if not old:
        raise WrongInput(f"The file is the set {parents!r} itself; name the set that it was evolved from")
    found = links([question_of(row.instruction, row.input) for row in old],
                  [question_of(row.instruction, row.input) for row in children], show)  # fmt: skip
    rows = [
        _step(id, round, child, old[link.parent] if link.parent is not None else None, link, came_of, old)
        for child, link in zip(children, found, strict=True)
    ]
    _keep(workspace, id, {"name": name, "parents": parents, "round": round}, rows)
    told = next(one for one in report_of(workspace.database, id)["rounds"] if one["round"] == round)
    linked = sum(link.parent is not None for link in found)
    whole = sum(link.parent is not None and link.whole for link in found)
    return {"evolution": id, **told, "linked": linked, "whole": whole, "unlinked": len(found) - linked}


def check_round(workspace: Workspace, round: int | None, parents: str | None) -> None:
    """Raises WrongInput when a file cannot be imported as this round of that set."""
    if round is None or parents is None:
        raise WrongInput("A round needs both: --round N, and --parents NAME of the set it was evolved from")
    if not 1 <= round <= 99:
        raise WrongInput(f"--round {round} must be between 1 and 99; the seed set is round 0")
    with workspace.database.reading() as connection:
        if not samples.has_set(connection, parents):
            raise WrongInput(f"There is no set {parents!r} to be the parents; import it first")


def _step(
    id: str, round: int, child: Row[Any], parent: Row[Any] | None, link: Link,
    came_of: Mapping[int, Row[Any]], old: Sequence[Row[Any]],
) -> dict[str, Any]:  # fmt: skip
    """Say where a row came from, and which rule it fails by."""
    above = came_of.get(parent.seq) if parent is not None else None
    before = "" if parent is None else question_of(parent.instruction, parent.input)
    task = question_of(child.instruction, child.input)
    found = task_fault(task, before) or answer_fault(child.response)
    told: dict[str, Any] = {"share": _short(link.share), "next": _short(link.next), "whole": link.whole}
    if parent is None and link.nearest >= 0:
        told |= {"why": link.why, "nearest": old[link.nearest].id}
    return {
        "id": digest(id, "imported", child.id), "evolution_id": id,
        "root": above.root if above is not None else (parent.seq if parent is not None else child.seq),
        "parent": None if parent is None else parent.seq, "round": round, "redo": 0, "heuristic": None,
        "phase": ANSWER, "state": KEPT if found is None else REJECTED,
        "rule": None if found is None else found.rule,
        "evidence": {"link": told, **({} if found is None else found.evidence)}, "task": task,
        "child": child.seq, **words_of(None if parent is None else before, task, child.response),
    }  # fmt: skip


def _short(share: float) -> float:
    return round(share, SHARES)


def _keep(workspace: Workspace, id: str, told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    db = workspace.database
    row = evolutions.find(db, id)
    before = list(row.settings.get("imports", [])) if row is not None else []
    imports = before if told in before else [*before, dict(told)]
    facts = {
        "name": told["parents"] if row is None else row.name, "parents": told["parents"], "kind": IMPORTED,
        "model": "", "settings": {"imports": imports},
    }  # fmt: skip
    with db.transaction() as connection:
        evolutions.open_evolution(connection, id, facts)
    for start in range(0, len(rows), PAGE):
        with db.transaction() as connection:
            evolutions.add_steps(connection, rows[start : start + PAGE])


def reject_eliminated(workspace: Workspace, id: str, person: str = "me") -> dict[str, Any]:
    """Reject the samples of an imported round that a rule speaks against, in the name of a person.

    An evolution that ran here has none: what it eliminates never becomes a sample. Gives rejected {rule: n}
    of those that were not rejected before. `samples word ID none` takes one back. Raises WrongInput.
    """
    evolution = evolutions.find(workspace.database, id)
    if evolution is None:
        raise WrongInput(f"There is no evolution {id!r}; `evolution list` tells them")
    with workspace.database.transaction() as connection:
        return {"evolution": evolution.id, "rejected": _reject(connection, evolution.id, person)}


def _reject(connection: Connection, id: str, person: str) -> dict[str, int]:
    done: Counter[str] = Counter()
    rejected = sample_words.rejected(connection)
    for step in evolutions.eliminated_samples(connection, id):
        if step.child not in rejected:
            note = f"eliminated from round {step.round}: {step.rule}"
            sample_words.add(connection, step.child, sample_words.REJECT, person, note)
            done[step.rule] += 1
    return dict(done.most_common())
