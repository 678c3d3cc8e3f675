"""Evolutions: ways of evolving a set, every attempt of each round, and what rounds scored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or_ignore

from curation.store import judgements, short_ids
from curation.store.database import Database, now
from curation.store.generations import REPAIR
from curation.store.tables import (
    evolution,
    evolution_score,
    evolution_step,
    generation_item,
    judgement,
    sample,
    sample_place,
    teacher_call,
)

PAGE = 500
METHOD = "evol-instruct"  # of the samples that an evolution makes
EVOLVED, PREVIEW, IMPORTED = "evolved", "preview", "imported"  # kinds
REWRITE, COMPARE, ANSWER = "rewrite", "compare", "answer"  # phases, in order
WAITING, KEPT, REJECTED, FAILED = "waiting", "kept", "rejected", "failed"
STATES = (KEPT, REJECTED, FAILED, WAITING)
PRUNED, REDONE = "pruned", "redone"
step = evolution_step.c


# --- evolutions ---


def open_evolution(connection: Connection, id: str, facts: Mapping[str, Any]) -> None:
    """Note that an evolution is at work: name, parents, kind, model, settings."""
    values = {"id": id, **facts, "paused": None, "created_at": now(), "worked_at": now()}
    renewed = {name: values[name] for name in ("paused", "worked_at", "settings")}
    connection.execute(
        insert_or_ignore(evolution).on_conflict_do_update(index_elements=["id"], set_=renewed), values
    )


def pause(connection: Connection, id: str, why: str | None) -> None:
    """Say why an evolution stands still; None: it does not."""
    connection.execute(update(evolution).where(evolution.c.id == id).values(paused=why))


def find(db: Database, id: str) -> Row[Any] | None:
    """Give the evolution of this id, or whose id begins so when only one does."""
    with db.reading() as connection:
        return short_ids.find(connection, evolution, id)


def step_like(connection: Connection, id: str) -> Row[Any] | None:
    """Give the step of this id, or whose id begins so when only one does."""
    return short_ids.find(connection, evolution_step, id)


def find_in(connection: Connection, id: str) -> Row[Any]:
    """Give the evolution of this id, which is there."""
    return connection.execute(select(evolution).where(evolution.c.id == id)).one()


def all_of(db: Database, *kinds: str) -> list[Row[Any]]:
    """Give the evolutions of these kinds, the one that worked last first."""
    query = select(evolution).where(evolution.c.kind.in_(kinds))
    order = (evolution.c.worked_at.desc(), evolution.c.created_at.desc(), evolution.c.id)
    with db.reading() as connection:
        return list(connection.execute(query.order_by(*order)))


# --- steps ---


def add_steps(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write attempts down: id, evolution_id, root, parent, round, redo, heuristic and what else differs from
    a step that waits for its rewriting. One that is there stays as it is."""
    fresh: dict[str, Any] = {
        "phase": REWRITE, "state": WAITING, "rule": None, "evidence": {}, "overruled": [], "task": None,
        "rewrite_call": None, "compare_call": None, "answer_call": None, "child": None, "cut": None,
        "cut_by": None, "parent_cosine": None, "words_before": None, "words": None, "answer_words": None,
        "tokens_in": 0, "tokens_out": 0, "replies": 0,
    }  # fmt: skip
    if rows:
        statement = insert_or_ignore(evolution_step).on_conflict_do_nothing(index_elements=["id"])
        connection.execute(statement, [{**fresh, **row} for row in rows])


def change(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Change steps: `id` of each, and what is new of it; all rows name the same columns."""
    if not rows:
        return
    names = [name for name in rows[0] if name != "id"]
    statement = (
        update(evolution_step)
        .where(step.id == bindparam("at"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    connection.execute(
        statement, [{"at": row["id"], **{f"new_{name}": row[name] for name in names}} for row in rows]
    )


def spend(connection: Connection, rows: Sequence[tuple[str, int, int]]) -> None:
    """Add what replies took to their steps: id, tokens in, tokens out."""
    if not rows:
        return
    statement = (
        update(evolution_step)
        .where(step.id == bindparam("at"))
        .values(
            tokens_in=step.tokens_in + bindparam("more_in"),
            tokens_out=step.tokens_out + bindparam("more_out"),
            replies=step.replies + 1,
        )
    )  # fmt: skip
    told = [{"at": id, "more_in": given, "more_out": made} for id, given, made in rows]
    connection.execute(statement, told)


def subjects(connection: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Give steps by id, each with the texts and the origin of the sample that it rewrites, and the id of
    the one that its tree grows from."""
    root = sample.alias("root")
    origin = ("source", "licence", "seed_id", "instruction", "input")
    query = (
        select(
            evolution_step,
            sample.c.id.label("parent_id"),
            root.c.id.label("root_id"),
            *(sample.c[name] for name in origin),
        )
        .join(sample, sample.c.seq == step.parent)
        .join(root, root.c.seq == step.root)
    )
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(ids), PAGE):
        page = list(ids[start : start + PAGE])
        found |= {row.id: row for row in connection.execute(query.where(step.id.in_(page)))}
    return found


def by_ids(connection: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Give steps as they stand, by id."""
    found: dict[str, Row[Any]] = {}
    for start in range(0, len(ids), PAGE):
        page = list(ids[start : start + PAGE])
        rows = connection.execute(select(evolution_step).where(step.id.in_(page)))
        found |= {row.id: row for row in rows}
    return found


def attempts(connection: Connection, id: str, round: int) -> dict[int, tuple[int, bool]]:
    """Say of every root of a round how many attempts there are, and whether one of them counts (a redone one
    does not): {root: (number, counts)}."""
    query = (
        select(step.root, func.count(), func.sum(func.coalesce(step.cut, "") != REDONE))
        .where(step.evolution_id == id, step.round == round)
        .group_by(step.root)
    )
    return {int(root): (int(number), bool(alive)) for root, number, alive in connection.execute(query)}


def decided_roots(connection: Connection, id: str, round: int) -> set[int]:
    """Give the roots whose attempt of a round was decided, or cut by a person."""
    is_decided = (step.state != WAITING) | (func.coalesce(step.cut, "") == PRUNED)
    query = select(step.root).where(step.evolution_id == id, step.round == round, is_decided)
    return {
        int(root) for root in connection.execute(query.where(func.coalesce(step.cut, "") != REDONE)).scalars()
    }


def newest_children(connection: Connection, id: str, before: int) -> dict[int, list[int]]:
    """Give the children that each root has from rounds before this one, the newest first."""
    query = (
        select(step.root, step.child)
        .where(step.evolution_id == id, step.round < before, step.state == KEPT, step.cut.is_(None))
        .order_by(step.round.desc(), step.redo.desc())
    )
    found: dict[int, list[int]] = {}
    for root, child in connection.execute(query.where(step.child.is_not(None))):
        found.setdefault(int(root), []).append(int(child))
    return found


def to_do(
    connection: Connection, id: str, round: int, phase: str, states: Sequence[str]
) -> list[tuple[str, int]]:
    """Give id and root of the steps of a round that wait in a phase, in order. Cut ones wait for nothing."""
    query = (
        select(step.id, step.root)
        .where(step.evolution_id == id, step.round == round, step.phase == phase, step.state.in_(states))
        .where(step.cut.is_(None))
        .order_by(step.seq)
    )
    return [(str(row.id), int(row.root)) for row in connection.execute(query)]


def rounds_of(connection: Connection, id: str) -> list[int]:
    """Give the rounds that have attempts."""
    query = select(step.round).where(step.evolution_id == id).distinct().order_by(step.round)
    return [int(round) for round in connection.execute(query).scalars()]


def unread(connection: Connection, id: str, round: int, rule: str) -> list[tuple[str, int]]:
    """Give id and root of the steps whose comparison was not read, which fails them by this rule, and that a
    kill kept from a second one."""
    query = select(step.id, step.root, step.evidence).where(
        step.evolution_id == id, step.round == round, step.state == REJECTED, step.phase == COMPARE,
        step.rule == rule, step.cut.is_(None),
    ).order_by(step.seq)  # fmt: skip
    return [(str(row.id), int(row.root)) for row in connection.execute(query) if REPAIR not in row.evidence]


def of_root(connection: Connection, id: str, root: int) -> list[Row[Any]]:
    """Give the attempts of a tree, by round."""
    query = select(evolution_step).where(step.evolution_id == id, step.root == root)
    return list(connection.execute(query.order_by(step.round, step.redo, step.seq)))


def of_child(connection: Connection, child: int) -> list[Row[Any]]:
    """Give the steps that a sample came of; more than one only if a file was imported as a round twice."""
    return list(connection.execute(select(evolution_step).where(step.child == child).order_by(step.seq)))


def steps_of_children(connection: Connection, children: Sequence[int]) -> dict[int, Row[Any]]:
    """Give the step that each of these samples came of; those that no evolution made are left out."""
    found: dict[int, Row[Any]] = {}
    for start in range(0, len(children), PAGE):
        page = [int(seq) for seq in children[start : start + PAGE]]
        rows = connection.execute(select(evolution_step).where(step.child.in_(page)).order_by(step.seq))
        for row in rows:
            found.setdefault(int(row.child), row)
    return found


def children_after(connection: Connection, id: str, round: int) -> dict[int, int]:
    """Give the samples of later rounds: {seq: round}."""
    query = select(step.child, step.round).where(
        step.evolution_id == id, step.round > round, step.child.is_not(None)
    )
    return {int(child): int(of) for child, of in connection.execute(query)}


def eliminated_samples(connection: Connection, id: str) -> list[Row[Any]]:
    """Give the steps that a rule speaks against although they have a sample: of imported rounds."""
    query = select(evolution_step).where(
        step.evolution_id == id, step.state == REJECTED, step.child.is_not(None)
    )
    return list(connection.execute(query.order_by(step.seq)))


def of_parent(connection: Connection, parent: int) -> list[Row[Any]]:
    """Give the steps that rewrote a sample, of every evolution."""
    return list(connection.execute(select(evolution_step).where(step.parent == parent).order_by(step.seq)))


def counts(connection: Connection, id: str) -> list[Row[Any]]:
    """Count the steps of an evolution by round, heuristic, state, rule and cut (column `steps`)."""
    keys = (step.round, step.heuristic, step.state, step.rule, step.cut)
    query = select(*keys, func.count().label("steps")).where(step.evolution_id == id).group_by(*keys)
    return list(connection.execute(query.order_by(step.round)))


def stamp(connection: Connection, id: str) -> tuple[Any, ...]:
    """Give what changes whenever a report on an evolution would."""
    is_cut, is_measured = func.count(step.cut), func.count(step.parent_cosine)
    query = select(func.count(), func.count(step.task), func.count(step.child), is_cut, is_measured)
    states = select(step.state, func.count()).where(step.evolution_id == id).group_by(step.state)
    judged = connection.execute(select(func.max(judgement.c.id))).scalar()
    counted = connection.execute(query.where(step.evolution_id == id)).one()
    return (*counted, *(tuple(row) for row in connection.execute(states)), judged)


def measured(connection: Connection, id: str) -> list[Row[Any]]:
    """Give what was measured of every step: round, heuristic, state, cut, words_before, words, answer_words,
    parent_cosine (None where nobody knows), tokens_in, tokens_out, replies."""
    names = (
        "round", "heuristic", "state", "cut", "words_before", "words", "answer_words", "parent_cosine",
        "tokens_in", "tokens_out", "replies",
    )  # fmt: skip
    return list(connection.execute(select(*(step[name] for name in names)).where(step.evolution_id == id)))


def costs(connection: Connection, id: str, most: int) -> list[Row[Any]]:
    """Give tokens_in, tokens_out and the seconds of the newest steps that were decided, all calls of each."""
    call, item = teacher_call.c, generation_item.c
    newest = (
        select(evolution_step).where(step.evolution_id == id, step.state != WAITING)
        .order_by(step.seq.desc()).limit(most).subquery()
    )  # fmt: skip
    query = (
        select(
            newest.c.tokens_in,
            newest.c.tokens_out,
            func.coalesce(func.sum(call.seconds), 0.0).label("seconds"),
        )
        .join(generation_item, item.subject == newest.c.id)
        .join(teacher_call, (call.id == item.call_id) | (call.id == item.repair_id))
        .group_by(newest.c.seq)
    )
    return list(connection.execute(query))


def tokens(connection: Connection, id: str) -> int:
    """Sum the tokens of all calls of an evolution's steps, in and out, those of lost replies included."""
    call = teacher_call.c
    total = 0
    for which in (generation_item.c.call_id, generation_item.c.repair_id):
        query = (
            select(func.sum(call.tokens_in + call.tokens_out + call.lost_in + call.lost_out))
            .select_from(evolution_step)
            .join(generation_item, generation_item.c.subject == step.id)
            .join(teacher_call, call.id == which)
            .where(step.evolution_id == id)
        )
        total += int(connection.execute(query).scalar() or 0)
    return total


def difficulties(connection: Connection, id: str) -> list[Row[Any]]:
    """Give round, heuristic and the newest judge's difficulty of each child that was judged."""
    query = (
        select(step.round, step.heuristic, judgement.c.difficulty)
        .join(judgement, judgement.c.seq == step.child)
        .where(step.evolution_id == id, step.state == KEPT, step.cut.is_(None))
        .where(judgement.c.id.in_(judgements.that_count()), judgement.c.difficulty.is_not(None))
    )
    return list(connection.execute(query))


def root_difficulties(connection: Connection, roots: Iterable[int]) -> list[float]:
    """Give the newest judge's difficulty of each of these samples that was judged."""
    query = select(judgement.c.seq, judgement.c.difficulty).where(
        judgement.c.id.in_(judgements.that_count()), judgement.c.difficulty.is_not(None)
    )
    wanted = set(roots)
    return [float(row.difficulty) for row in connection.execute(query) if row.seq in wanted]


def roots_of(connection: Connection, id: str) -> list[int]:
    """Give the samples that an evolution's trees grow from, in import order. Of an imported one that is its
    whole seed set: nobody knows which of it were tried."""
    row = connection.execute(
        select(evolution.c.kind, evolution.c.settings).where(evolution.c.id == id)
    ).first()
    if row is not None and row.kind == IMPORTED:
        first = min(row.settings["imports"], key=lambda one: int(one["round"]))["parents"]
        of_set = select(sample_place.c.seq).where(sample_place.c.name == first).order_by(sample_place.c.seq)
        return [int(seq) for seq in connection.execute(of_set).scalars()]
    query = select(step.root).where(step.evolution_id == id, step.parent.is_not(None)).distinct()
    return [int(root) for root in connection.execute(query.order_by(step.root)).scalars()]


def unmeasured(connection: Connection, id: str) -> list[Row[Any]]:
    """Give id, parent and child of the kept steps whose likeness to the parent nobody measured."""
    query = select(step.id, step.parent, step.child).where(
        step.evolution_id == id, step.state == KEPT, step.parent.is_not(None), step.child.is_not(None)
    )
    return list(connection.execute(query.where(step.parent_cosine.is_(None)).order_by(step.seq)))


# --- lists of trees ---


@dataclass(frozen=True, slots=True)
class StepQuery:
    """Which trees a list shows: those with a step that fits all of these. None: any."""

    heuristic: str | None = None  # "": of which nobody knows it
    round: int | None = None
    state: str | None = None
    rule: str | None = None
    cut: bool | None = None

    def of(self, id: str) -> list[Any]:
        """Say it in SQL."""
        found: list[Any] = [step.evolution_id == id]
        for column, wanted in ((step.round, self.round), (step.state, self.state), (step.rule, self.rule)):
            if wanted is not None:
                found.append(column == wanted)
        if self.heuristic is not None:
            found.append(func.coalesce(step.heuristic, "") == self.heuristic)
        if self.cut is not None:
            found.append(step.cut.is_not(None) if self.cut else step.cut.is_(None))
        return found


def count_trees(connection: Connection, id: str, query: StepQuery) -> tuple[int, int]:
    """Count the trees that have a step that fits, and these steps."""
    found = select(func.count(step.root.distinct()), func.count()).where(*query.of(id))
    trees, steps = connection.execute(found).one()
    return int(trees), int(steps)


def tree_page(
    connection: Connection, id: str, query: StepQuery, after: int | None, before: int | None, size: int
) -> tuple[list[int], int | None, int | None]:
    """Give the roots of a page of trees; and those to go back to and on from (None: nothing there)."""
    found = select(step.root).where(*query.of(id)).distinct()
    if before is not None:
        backward: Select[Any] = found.where(step.root < before).order_by(step.root.desc()).limit(size + 1)
        roots = [int(root) for root in connection.execute(backward).scalars()]
        has_more, roots = len(roots) > size, roots[:size][::-1]
        return roots, (roots[0] if has_more else None), (roots[-1] if roots else None)
    start = -1 if after is None else after
    forward = found.where(step.root > start).order_by(step.root).limit(size + 1)
    roots = [int(root) for root in connection.execute(forward).scalars()]
    has_more, roots = len(roots) > size, roots[:size]
    return roots, (None if after is None or not roots else roots[0]), (roots[-1] if has_more else None)


def of_roots(connection: Connection, id: str, roots: Sequence[int]) -> dict[int, list[Row[Any]]]:
    """Give round, redo, heuristic, state, rule and cut of the steps of some trees, by root."""
    columns = (step.root, step.round, step.redo, step.heuristic, step.state, step.rule, step.cut, step.child)
    query = select(*columns).where(step.evolution_id == id, step.root.in_(list(roots)))
    rows: list[Row[Any]] = list(connection.execute(query.order_by(step.root, step.round, step.redo)))
    found: dict[int, list[Row[Any]]] = {root: [] for root in roots}
    for row in rows:
        found[int(row.root)].append(row)
    return found


# --- scores ---


def add_score(
    connection: Connection, id: str, round: int, benchmark: str, score: float | None, person: str
) -> None:
    connection.execute(
        insert(evolution_score).values(
            evolution_id=id, round=round, benchmark=benchmark, score=score, person=person, at=now()
        )
    )


def scores(connection: Connection, id: str) -> list[Row[Any]]:
    """Give the score that counts of each round: round, benchmark, score, person, at. One that was taken back
    is left out."""
    c = evolution_score.c
    newest = select(func.max(c.id)).where(c.evolution_id == id).group_by(c.round)
    query = select(evolution_score).where(c.id.in_(newest), c.score.is_not(None)).order_by(c.round)
    return list(connection.execute(query))
