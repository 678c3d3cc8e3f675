"""What pages show of generations: how one stands, what it will take, every reply and its story."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation import prompt_shelf
from curation.asking import generation_id, outcome_in
from curation.generate import Settings, wanted_seeds
from curation.generation_estimate import Estimate, estimate_of
from curation.oss_instruct import Parsed, messages, parse, shared_blocks
from curation.prompt import Prompt, tag_for
from curation.reply import METHOD
from curation.store import calls, generations, seeds
from curation.store.database import Row
from curation.store.generations import FAILED, KEPT, REJECTED, STATES, WAITING, ItemQuery
from curation.workspace import Workspace

SHOWN = 300  # characters of a reply that a list shows


@dataclass(frozen=True)
class Standing:
    """How a way of asking stands."""

    id: str
    prompt: Prompt
    wanted: int  # seeds that are chosen
    items: int  # of them and others, written down so far
    counts: Mapping[str, Mapping[str, int]]  # {state: {reason or "": n}}
    used: Any  # see calls.totals
    paused: str | None
    estimate: Estimate | None

    def count(self, state: str) -> int:
        return sum(self.counts.get(state, {}).values())


def standing(workspace: Workspace, settings: Settings) -> Standing:
    """Tell how far the generation of these settings is, and what all its seeds will take.

    Raises WrongInput when no seed fits or there is no such prompt.
    """
    db = workspace.database
    prompt = prompt_shelf.prompt_for(workspace, METHOD, settings.prompt)
    ids = wanted_seeds(workspace, settings)
    id = generation_id(METHOD, settings.label, settings, prompt)
    overhead = sum(len(one["content"]) for one in messages(prompt, "x", "Python", tag_for("x", "")))
    foreseen = estimate_of(db, id, ids, settings.draws, overhead, settings.concurrency, settings.prices)
    with db.reading() as connection:
        counted = generations.counts(connection, id)
        used = calls.totals(connection, id)
    row = generations.find(db, id)
    items = sum(sum(reasons.values()) for reasons in counted.values())
    paused = row.paused if row is not None else None
    return Standing(id, prompt, len(ids), items, counted, used, paused, foreseen)


def newest(workspace: Workspace, method: str) -> Row[Any] | None:
    """Give the generation of a method that worked last; None: there is none. A trial of the prompt bench
    only where there is no other: its replies are no samples."""
    found = generations.all_of(workspace.database, method)
    return next((one for one in found if not one.settings.get("is_trial")), found[0] if found else None)


@dataclass(frozen=True)
class ReplyLine:
    """A reply as a list shows it."""

    position: int
    state: str
    reason: str
    language: str
    path: str
    text: str  # beginning of the problem, of the reply, or what went wrong
    tokens: int
    flags: Mapping[str, int]
    sample_id: str | None


@dataclass(frozen=True)
class ReplyPage:
    """Replies after or before a position, and the positions beside them."""

    lines: Sequence[ReplyLine]
    total: int
    before: int | None
    after: int | None


def replies(
    workspace: Workspace, id: str, query: ItemQuery, after: int | None = None, before: int | None = None,
    size: int = 50,
) -> ReplyPage:  # fmt: skip
    """Give a page of a generation's replies, in the order in which they were wanted."""
    db = workspace.database
    rows, back, on = generations.item_page(db, id, query, after, before, size)
    with db.reading() as connection:
        found = generations.seeds_of(connection, [one.subject for one in rows])
        total = generations.count_items(connection, id, query)
    return ReplyPage([_line(one, found.get(one.subject)) for one in rows], total, back, on)


def _line(item: Row[Any], seed: Row[Any] | None) -> ReplyLine:
    return ReplyLine(
        item.position, item.state, item.reason or "", seed.language if seed else "",
        seed.path if seed else "the seed is gone", _beginning(item),
        (item.tokens_in or 0) + (item.tokens_out or 0), item.flags, item.sample_id,
    )  # fmt: skip


def _beginning(item: Row[Any]) -> str:
    if item.reply is not None and item.call_state == calls.DONE:
        said = outcome_in(item).completion
        text = said.content if said else ""
        read = parse(text)
        return (read.problem if isinstance(read, Parsed) else text)[:SHOWN]
    return str(item.message or item.evidence.get("said", ""))[:SHOWN]


@dataclass(frozen=True)
class ReplyStory:
    """All that is known of one reply."""

    item: Row[Any]
    seed: Row[Any] | None
    question: Sequence[Mapping[str, str]]  # the messages as they were sent
    parameters: Mapping[str, Any]
    content: str  # what the teacher wrote, or the body it sent instead
    parsed: Parsed | None
    survived: Mapping[str, Sequence[tuple[int, int, int]]]  # of the seed, in problem and solution


def reply_story(workspace: Workspace, id: str, position: int) -> ReplyStory | None:
    """Tell one reply: its seed, the question, the answer, what was made of it. None: there is none."""
    db = workspace.database
    item = generations.item_at(db, id, position)
    if item is None:
        return None
    seed = seeds.find(db, item.subject)
    asked = json.loads(calls.unpack(item.request)) if item.request is not None else {"messages": []}
    content = _content(item)
    read = parse(content) if item.call_state == calls.DONE else None
    parsed = read if isinstance(read, Parsed) else None
    survived = {
        name: shared_blocks(seed.text, text)
        for name, text in (("problem", parsed.problem), ("solution", parsed.solution))
    } if parsed is not None and seed is not None else {}  # fmt: skip
    return ReplyStory(item, seed, asked.pop("messages"), asked, content, parsed, survived)


def _content(item: Row[Any]) -> str:
    if item.reply is None:
        return str(item.message or "")
    if item.call_state != calls.DONE:
        return calls.unpack(item.reply)
    said = outcome_in(item).completion
    return (said.refusal or said.content) if said else calls.unpack(item.reply)


def story_of_sample(workspace: Workspace, sample_id: str) -> ReplyStory | None:
    """Tell the reply that a sample was made of; None: it was made otherwise."""
    item = generations.item_of_sample(workspace.database, sample_id)
    return None if item is None else reply_story(workspace, item.generation_id, item.position)


def ledger(workspace: Workspace) -> list[dict[str, Any]]:
    """Give what every generation used: name, method, model, endpoint, prompt, calls, attempts, tokens in, out
    and lost, money by the prices it was run with (None: none were entered), first and last call."""
    lines = []
    for row in calls.ledger(workspace.database):
        settings = row.settings
        prices = (settings.get("price_in"), settings.get("price_out"))
        tokens_in, tokens_out = row.tokens_in + row.lost_in, row.tokens_out + row.lost_out
        money = None
        if prices[0] is not None and prices[1] is not None:
            money = (tokens_in * prices[0] + tokens_out * prices[1]) / 1_000_000
        prompt = generations.find_prompt(workspace.database, row.prompt_hash)
        lines.append(
            {
                "id": row.generation_id, "name": row.name, "method": row.method, "model": row.model,
                "endpoint": row.endpoint, "prompt": prompt.name if prompt else row.prompt_hash[:8],
                "prompt_hash": row.prompt_hash, "calls": row.calls, "attempts": row.attempts,
                "tokens_in": row.tokens_in, "tokens_out": row.tokens_out,
                "tokens_lost": row.lost_in + row.lost_out, "money": money, "first": row.first,
                "last": row.last,
            }
        )  # fmt: skip
    return lines


__all__ = [
    "FAILED", "KEPT", "REJECTED", "STATES", "WAITING", "ItemQuery", "ReplyLine", "ReplyPage", "ReplyStory",
    "Standing", "ledger", "newest", "replies", "reply_story", "standing", "story_of_sample",
]  # fmt: skip
