"""Explain: all that is known of one row, as a tree: its origin, what every stage decided, and why."""

from typing import Any

from curation.errors import WrongInput
from curation.store import (
    decisions,
    evolutions,
    judgements,
    reviews,
    runs,
    sample_words,
    samples,
    seeds,
    versions,
)
from curation.store.database import Row
from curation.verdicts import standings
from curation.workspace import Workspace


def explain(workspace: Workspace, id: str) -> dict[str, Any]:
    """Tell the whole story of a sample. `id` may be cut short as long as one sample begins so.

    Raises WrongInput when no sample, or more than one, has this id.
    """
    db = workspace.database
    row = samples.find(db, id)
    if row is None:
        raise WrongInput(
            f"No sample, or more than one, has an id that begins with {id!r}; "
            "ids stand in exports and `review list`"
        )
    return {
        "id": row.id,
        "origin": _origin(workspace, row),
        "instruction": row.instruction,
        "input": row.input,
        "response": row.response,
        **_opinions(workspace, row),
        "stages": [told for stage in runs.ORDER if (told := _stage(workspace, row, stage)) is not None],
        "versions": [_version(workspace, row, one) for one in versions.holding(db, row.seq)],
    }


def _origin(workspace: Workspace, row: Row[Any]) -> dict[str, Any]:
    origin: dict[str, Any] = {
        "method": row.method,
        "name": row.name,
        "source": row.source,
        "row": row.row,
        "file_sha256": row.file_hash,
        "file_id": row.file_id,
        "licence": row.licence,
        **({"extra": row.extra} if row.extra else {}),
    }
    if parents := _parents(workspace, row):
        origin["parents"] = parents
    seed = seeds.find(workspace.database, row.seed_id) if row.seed_id else None
    if seed is not None:
        origin["seed"] = {
            "id": seed.id,
            "source": seed.source,
            "path": seed.path,
            "lines": [seed.first_line, seed.last_line],
            "licence": seed.licence,
            "licence_evidence": seed.licence_evidence,
            "document_sha256": seed.document_hash,
        }
    return origin


def _parents(workspace: Workspace, row: Row[Any]) -> list[dict[str, Any]]:
    """Tell what a row was evolved from, the nearest first: parent, round, heuristic and step of each."""
    told: list[dict[str, Any]] = []
    with workspace.database.reading() as connection:
        at: int | None = row.seq
        while at is not None and (steps := evolutions.of_child(connection, at)):
            step = steps[0]
            at = None if step.parent is None else int(step.parent)
            if at is not None:
                told.append({
                    "id": samples.ids_of(connection, [at])[at], "round": step.round,
                    "heuristic": step.heuristic or "unknown", "step": step.id, "evolution": step.evolution_id,
                })  # fmt: skip
    return told


def _opinions(workspace: Workspace, row: Row[Any]) -> dict[str, Any]:
    """Tell what people and judges said of a row; nothing stands for what nobody said."""
    with workspace.database.reading() as connection:
        words = sample_words.history(connection, row.seq)
        edits = sample_words.edits_of(connection, row)
        judged = judgements.of_sample(connection, row.seq)
    told: dict[str, Any] = {
        "words": [{"word": w.word, "person": w.person, "at": w.at, "note": w.note} for w in words],
        "edits": edits,
        "judgements": [
            {"score": int(j.score), "difficulty": None if j.difficulty is None else int(j.difficulty),
             "reason": j.reason, "model": j.model, "rubric": j.prompt, "rubric_hash": j.prompt_hash,
             **({"flags": j.flags} if j.flags else {})}
            for j in judged
        ],
    }  # fmt: skip
    return {name: found for name, found in told.items() if found}


def _stage(workspace: Workspace, row: Row[Any], stage: str) -> dict[str, Any] | None:
    db = workspace.database
    run = runs.current(db, stage)
    if run is None:
        return None
    outcome = decisions.outcome_of(db, run.id, row.seq)
    if outcome is None:
        return {"stage": stage, "run": run.id, "state": "not seen"}
    told: dict[str, Any] = {"stage": stage, "run": run.id, "state": outcome.state}
    rejections = decisions.rejections_of(db, run.id, row.seq)
    if rejections:
        told["rejections"] = [{"reason": r.reason, "evidence": r.evidence} for r in rejections]
    kept_for = decisions.rejected_for(db, run.id, row.id)
    if kept_for:
        told["kept_instead_of"] = [
            {"id": r.id, "reason": r.reason, "cosine": r.evidence.get("cosine")} for r in kept_for
        ]
    if stage == "near-duplicates":
        told |= _near(workspace, row, run.id, outcome.cluster)
    if stage == "decontaminate":
        told |= _matches(workspace, row, run.id)
    return told


def _near(workspace: Workspace, row: Row[Any], run_id: int, cluster: int | None) -> dict[str, Any]:
    db = workspace.database
    pairs = []
    for pair in decisions.pairs_of(db, run_id, row.seq):
        other = samples.read(db, [pair.right_seq if pair.left_seq == row.seq else pair.left_seq])[0]
        pairs.append(
            {"with": other.id, "side": "left" if pair.left_seq == row.seq else "right", "cosine": pair.cosine,
             "response_cosine": pair.response_cosine, "decision": pair.decision,
             **_item(workspace, pair.item_id)}
        )  # fmt: skip
    return {"cluster": cluster, "pairs": pairs} if pairs else {"cluster": cluster}


def _matches(workspace: Workspace, row: Row[Any], run_id: int) -> dict[str, Any]:
    matches = [
        {"benchmark": m.benchmark, "item": m.item, "detector": m.detector, "score": m.score, "side": m.side,
         "decision": m.decision, **({"hits": m.evidence["hits"]} if m.evidence.get("hits") else {})}
        for m in decisions.matches_of(workspace.database, run_id, row.seq)
    ]  # fmt: skip
    told: dict[str, Any] = {"matches": matches} if matches else {}
    with workspace.database.reading() as connection:
        questions = [i for i in reviews.items_of_seq(connection, row.seq) if i.kind == "decontaminate"]
    for question in questions:
        told.setdefault("review", []).append(_item(workspace, question.id))
    return told


def _item(workspace: Workspace, item_id: str | None) -> dict[str, Any]:
    """Tell what was asked and who said what, taken-back votes included."""
    if item_id is None:
        return {}
    with workspace.database.reading() as connection:
        item = reviews.item_in(connection, item_id)
        votes = reviews.votes(connection, item_id)
    if item is None:
        return {}
    standing = standings(votes).get(item_id)
    told = [
        {"person": v.person, "verdict": v.verdict, "at": v.at, "note": v.note, "version": v.item_version}
        for v in votes
    ]
    return {
        "item": f"{item.id}@{item.version}",
        "settled": standing.settled if standing else None,
        **({"votes": told} if told else {}),
    }


def _version(workspace: Workspace, row: Row[Any], one: Row[Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"version": one.name, "state": one.state}
    rejections = decisions.rejections_of(workspace.database, one.run_id, row.seq)
    if rejections:
        told["rejections"] = [{"reason": r.reason, "evidence": r.evidence} for r in rejections]
    return told
