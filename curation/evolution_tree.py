"""The family tree of a sample: every attempt to evolve it, with what it took and why it lives or does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.asking import outcome_in
from curation.elimination import RULES
from curation.errors import WrongInput
from curation.evolve_calls import CALLS, task_of
from curation.reply import REASONS
from curation.store import calls, evolutions, generations, judgements, sample_words, samples
from curation.store.database import Connection, Row
from curation.store.evolutions import ANSWER, COMPARE, KEPT, REJECTED, REWRITE, StepQuery
from curation.workspace import Workspace

SHOWN = 160  # characters of a task in a list


@dataclass(frozen=True)
class CallTold:
    """One call of a step: what it took, and its reply."""

    phase: str
    id: str
    state: str
    model: str
    prompt: str  # hash
    prompt_name: str
    tokens_in: int
    tokens_out: int
    seconds: float | None
    said: str  # the reply; or what went wrong


@dataclass(frozen=True)
class Node:
    """An attempt, and what grew from it."""

    step: Row[Any]
    child: Row[Any] | None  # the sample that was made, or imported
    word: str  # of a person on the child: accept | reject | none
    is_flagged: bool
    difficulty: float | None  # by the newest judge
    grown: Sequence["Node"]


@dataclass(frozen=True)
class Tree:
    """A root and everything that grew from it, in one evolution."""

    evolution: Row[Any]
    root: Row[Any]
    nodes: Sequence[Node]  # those that grew from the root itself
    above: Sequence[Row[Any]]  # steps that the root came of, in another evolution
    seed: Row[Any] | None = None

    def walk(self) -> list[tuple[int, Node]]:
        """Give every node with its depth, a branch after the other."""
        return walk(self.nodes)


def walk(nodes: Sequence[Node]) -> list[tuple[int, Node]]:
    """Give nodes and all that grew from them, each with its depth, a branch after the other."""
    found: list[tuple[int, Node]] = []
    waiting = [(0, node) for node in reversed(nodes)]
    while waiting:
        depth, node = waiting.pop()
        found.append((depth, node))
        waiting += [(depth + 1, one) for one in reversed(node.grown)]
    return found


def tree_of(workspace: Workspace, evolution_id: str, root: int) -> Tree | None:
    """Read one tree; None: the evolution has no such tree. Its size is a handful of steps, whatever the size
    of the evolution."""
    with workspace.database.reading() as connection:
        steps = evolutions.of_root(connection, evolution_id, root)
        if not steps:
            return None
        children = [int(one.child) for one in steps if one.child is not None]
        rows = {row.seq: row for row in samples.whole(connection, [root, *children])}
        words = {seq: word for seq in children if (word := sample_words.newest(connection, seq)) is not None}
        judged = judgements.newest(connection, children)
        above = evolutions.of_child(connection, root)
        evolution = evolutions.find_in(connection, evolution_id)
        seed_id = rows[root].seed_id
        seed = generations.seeds_of(connection, [seed_id]).get(seed_id) if seed_id else None

    def grown(parent: int | None) -> list[Node]:
        return [node(one) for one in steps if _grew_from(one, parent, root)]

    def node(one: Row[Any]) -> Node:
        child = None if one.child is None else int(one.child)
        said = judged.get(child) if child is not None else None
        word = words.get(child) if child is not None else None
        row = rows.get(child) if child is not None else None
        is_flagged = bool(row is not None and row.extra.get("flags"))
        return Node(
            one, row, word.word if word else sample_words.NONE, is_flagged,
            said.difficulty if said else None,
            grown(child) if child is not None and child != root else [],
        )  # fmt: skip

    return Tree(evolution, rows[root], grown(root), [one for one in above if one.child != one.root], seed)


def _grew_from(step: Row[Any], parent: int | None, root: int) -> bool:
    """Say whether a step rewrote this sample; of an imported row without a parent, whether it is the root."""
    return bool(step.parent == parent or (step.parent is None and parent == root))


def calls_of(workspace: Workspace, step: Row[Any]) -> list[CallTold]:
    """Tell the calls of a step, in order; a comparison that was asked twice is two."""
    told = []
    with workspace.database.reading() as connection:
        for item in generations.items_of_subject(connection, step.id):
            for id in (item.call_id, item.repair_id):
                row = calls.find_in(connection, id) if id else None
                if row is not None:
                    told.append(_call(connection, item, row))
    order = [CALLS[phase] for phase in (REWRITE, COMPARE, ANSWER)]
    return sorted(told, key=lambda one: order.index(one.phase))


def _call(connection: Connection, item: Row[Any], row: Row[Any]) -> CallTold:
    said = ""
    if row.reply is not None and row.state == calls.DONE:
        completion = outcome_in(row).completion
        said = completion.content if completion else ""
    return CallTold(
        item.method, row.id, row.state, row.model, row.prompt_hash,
        generations.prompt_name(connection, row.prompt_hash), int(row.tokens_in), int(row.tokens_out),
        row.seconds, said or row.message or "",
    )  # fmt: skip


@dataclass(frozen=True)
class TreeLine:
    """A tree as a list shows it."""

    root: int
    id: str
    text: str
    steps: Sequence[Row[Any]]


@dataclass(frozen=True)
class TreePage:
    """Trees after or before a root, and the roots beside them."""

    lines: Sequence[TreeLine]
    trees: int
    steps: int
    before: int | None
    after: int | None


def trees(
    workspace: Workspace, evolution_id: str, query: StepQuery, after: int | None = None,
    before: int | None = None, size: int = 25,
) -> TreePage:  # fmt: skip
    """Give a page of trees that have a step which fits, in import order."""
    with workspace.database.reading() as connection:
        number, steps = evolutions.count_trees(connection, evolution_id, query)
        roots, back, on = evolutions.tree_page(connection, evolution_id, query, after, before, size)
        found = evolutions.of_roots(connection, evolution_id, roots)
        rows = {row.seq: row for row in samples.whole(connection, roots)}
    lines = [TreeLine(one, rows[one].id, task_of(rows[one])[:SHOWN], found[one]) for one in roots]
    return TreePage(lines, number, steps, back, on)


def told_tree(workspace: Workspace, id: str) -> dict[str, Any]:
    """Say the families of a sample as JSON: in every evolution that it has a part in. Raises WrongInput."""
    row = samples.find(workspace.database, id)
    if row is None:
        raise WrongInput(f"No sample, or more than one, has an id that begins with {id!r}")
    return {"sample": row.id, "families": [_told(tree) for tree in families(workspace, row.seq)]}


def families(workspace: Workspace, seq: int) -> list[Tree]:
    """Give the trees that a sample is in, as root, parent or child; none for one that was never evolved."""
    with workspace.database.reading() as connection:
        steps = [*evolutions.of_child(connection, seq), *evolutions.of_parent(connection, seq)]
        kinds = {one.evolution_id: evolutions.find_in(connection, one.evolution_id).kind for one in steps}
    wanted = dict.fromkeys(
        (one.evolution_id, int(one.root)) for one in steps if kinds[one.evolution_id] != evolutions.PREVIEW
    )
    found = (tree_of(workspace, evolution, root) for evolution, root in wanted)
    return [tree for tree in found if tree is not None]


def _told(tree: Tree) -> dict[str, Any]:
    return {
        "evolution": tree.evolution.id, "name": tree.evolution.name, "root": tree.root.id,
        "steps": [_told_step(node, depth) for depth, node in tree.walk()],
    }  # fmt: skip


def _told_step(node: Node, depth: int) -> dict[str, Any]:
    step = node.step
    return {
        "step": step.id, "depth": depth, "round": step.round, "redo": step.redo,
        "heuristic": step.heuristic or "unknown", "state": step.state,
        **({"rule": step.rule, "evidence": step.evidence} if step.rule else {}),
        **({"link": step.evidence["link"]} if "link" in step.evidence and not step.rule else {}),
        **({"overruled": step.overruled} if step.overruled else {}),
        **({"cut": step.cut, "cut_by": step.cut_by} if step.cut else {}),
        **({"sample": node.child.id} if node.child is not None else {}),
        **({"word": node.word} if node.word != sample_words.NONE else {}),
        **({"parent_cosine": round(step.parent_cosine, 4)} if step.parent_cosine is not None else {}),
    }  # fmt: skip


def words_of_rule(rule: str) -> str:
    """Say a rule, or the reason why there is no reply, as people read it."""
    return RULES.get(rule) or REASONS.get(rule) or rule.replace("_", " ")


def why(step: Row[Any]) -> str:
    """Say in a line what became of a step."""
    if step.state == KEPT:
        return "lives"
    told = words_of_rule(step.rule or "")
    if step.state == REJECTED:
        return told
    return f"no answer: {told}" if told else f"waits to be {WAITS[step.phase]}"


WAITS: Mapping[str, str] = {REWRITE: "rewritten", COMPARE: "compared", ANSWER: "answered"}
