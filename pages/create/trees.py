"""Family trees: what became of every task of an evolution, what a step changed, one branch at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

import ui
from curation import evolution_branch, sample_words
from curation.evolution_browser import CALLS_A_STEP, reasons
from curation.evolution_tree import (
    CallTold,
    Node,
    Tree,
    TreePage,
    calls_of,
    tree_of,
    trees,
    walk,
    why,
    words_of_rule,
)
from curation.evolve_calls import task_of
from curation.heuristics import heuristics, title_of
from curation.store import evolutions, samples
from curation.store.database import Row
from curation.store.evolutions import FAILED, IMPORTED, KEPT, PRUNED, REDONE, REJECTED, WAITING, StepQuery
from curation.word_diff import word_diff

PAGING = ("after", "before", "root", "step")
SIZE = 25
STATES = {KEPT: "lives", REJECTED: "eliminated", FAILED: "failed", WAITING: "waits"}
SIGNS = {KEPT: "✓", REJECTED: "✗", FAILED: "!", WAITING: "…"}
COLORS = {KEPT: "green", REJECTED: "orange", FAILED: "red", WAITING: "gray"}
UNKNOWN = "?"  # in the address: of which nobody knows the heuristic
SHOWN = 20_000  # characters of a text that are compared
PHASES = {"evolve": "Rewriting", "equality": "Comparing", "evolve-answer": "Answering"}


# --- which trees ---


def _query() -> StepQuery:
    asked = st.query_params
    heuristic = asked.get("heuristic") or None
    state = asked.get("state")
    return StepQuery(
        heuristic="" if heuristic == UNKNOWN else heuristic,
        round=_number("round", 2),
        state=state if state in STATES else None,
        rule=asked.get("rule") or None,
        cut=True if asked.get("cut") == "1" else None,
    )


def _filters(chosen: Row[Any]) -> None:
    id = chosen.id
    known = reasons(ui.workspace(), id)
    with ui.workspace().database.reading() as connection:
        rounds = evolutions.rounds_of(connection, id)
    columns = st.columns(5)
    names = [UNKNOWN] if chosen.kind == IMPORTED else list(heuristics())
    options = (
        ("Heuristic", "heuristic", names, lambda v: "unknown" if v == UNKNOWN else title_of(v)),
        ("Round", "round", [str(one) for one in rounds], lambda v: f"round {v}"),
        ("What became of it", "state", list(STATES), lambda v: STATES[v]),
        ("Reason", "rule", list(known), lambda v: f"{words_of_rule(v)} ({known.get(v, 0):,})"),
        ("Branches", "cut", ["1"], lambda v: "cut by a person"),
    )
    for column, (label, parameter, values, shown) in zip(columns, options, strict=True):
        with column:
            ui.choose(label, parameter, ["", *values], lambda v, s=shown: s(v) if v else "all", clear=PAGING)


def _list(chosen: Row[Any], query: StepQuery) -> int | None:
    """Show a page of trees. Gives the root of the one that is open."""
    page = trees(ui.workspace(), chosen.id, query, _number("after"), _number("before"), SIZE)
    with st.container(horizontal=True, vertical_alignment="center"):
        what = "attempt fits" if page.steps == 1 else "attempts fit"
        st.markdown(f"**{ui.count_of(page.trees, 'tree')}**", width="content")
        st.caption(f"{page.steps:,} {what}")
        if query != StepQuery():
            st.button("Clear all filters", key="trees_clear", type="tertiary", on_click=ui.set_query,
                      args=((*PAGING, "heuristic", "round", "state", "rule", "cut"),),
                      icon=":material/filter_alt_off:")  # fmt: skip
    if not page.lines:
        st.info("No tree fits. Take a filter away.", icon=":material/search_off:")
        return None
    _table(page)
    ui.turn_pages("trees", "Click a tree to see its attempts.", _text(page.before), _text(page.after), PAGING)
    root = _number("root")
    return page.lines[0].root if root is None else root


def _number(parameter: str, digits: int = 15) -> int | None:
    text = st.query_params.get(parameter, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= digits else None


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _table(page: TreePage) -> None:
    rounds = max((step.round for line in page.lines for step in line.steps), default=1)
    columns: dict[str, Sequence[Any]] = {"Task": [line.text for line in page.lines]}
    for round in range(1, rounds + 1):
        columns[f"Round {round}"] = [_cell(line.steps, round) for line in page.lines]
    roots = [str(line.root) for line in page.lines]
    key = ui.table_key("trees_table", roots)
    st.dataframe(
        ui.frame(columns), hide_index=True, height=221, key=key, selection_mode="single-cell",
        on_select=lambda: _opened(key, roots),
        column_config={"Task": st.column_config.TextColumn(width=460 if rounds < 4 else 320)},
    )  # fmt: skip


def _opened(key: str, roots: Sequence[str]) -> None:
    ui.set_query(("step",))
    ui.open_clicked(key, "root", roots)


def _cell(steps: Sequence[Row[Any]], round: int) -> str:
    """Say in a word what became of a round: of the attempt that counts, with a note of the others."""
    of_round = [one for one in steps if one.round == round]
    alive = [one for one in of_round if one.cut != REDONE] or of_round
    if not alive:
        return ""
    last = alive[-1]
    told = f"{SIGNS[last.state]} {title_of(last.heuristic) if last.heuristic else STATES[last.state]}"
    if last.cut == PRUNED:
        told += " (pruned)"
    return told + (f" (redone {len(of_round) - 1}x)" if len(of_round) > 1 else "")


# --- one tree ---


def _tree(tree: Tree) -> Node | None:
    """Show a tree as lines; a click opens a step, as do J and K. Gives the step that is open."""
    walked = tree.walk()
    open_id = st.query_params.get("step", "")
    opened = next((node for _, node in walked if node.step.id == open_id), None)
    if opened is None and walked:
        fitting = [node for _, node in walked if _fits(node.step, _query())]
        opened = fitting[0] if fitting and _query() != StepQuery() else walked[-1][1]
    with st.container(gap="xsmall", key="tree"):
        _root_line(tree)
        for depth, node in walked:
            _line(depth, node, opened is not None and node.step.id == opened.step.id)
        if opened is not None and len(walked) > 1:
            _steps_beside([node.step.id for _, node in walked], opened.step.id)
    return opened


def _fits(step: Row[Any], query: StepQuery) -> bool:
    """Say whether a step is one of those that the list was filtered for."""
    wanted = (
        (query.heuristic, step.heuristic or ""), (query.round, step.round), (query.state, step.state),
        (query.rule, step.rule), (query.cut, step.cut is not None),
    )  # fmt: skip
    return all(asked is None or asked == found for asked, found in wanted)


def _steps_beside(ids: Sequence[str], opened: str) -> None:
    at = ids.index(opened)
    with st.container(horizontal=True):
        for label, key, to in (("Attempt before", "k", at - 1), ("Attempt after", "j", at + 1)):
            st.button(
                label, key=f"trees_{key}", type="tertiary", shortcut=key, disabled=not 0 <= to < len(ids),
                on_click=ui.set_query, kwargs={"step": ids[to] if 0 <= to < len(ids) else None},
            )  # fmt: skip


def _root_line(tree: Tree) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if tree.seed is not None:
            ui.link("seeds", "Seed", icon=":material/grass:", seed=tree.seed.id)
        st.badge("seed task", icon=":material/flag:", color="blue")
        ui.link("row", ui.plain(_excerpt(task_of(tree.root), 52)), id=tree.root.id)


def _line(depth: int, node: Node, is_open: bool) -> None:
    step = node.step
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.space(20 * (depth + 1))
        redo = f", redo {step.redo}" if step.redo else ""
        st.button(
            f"Round {step.round}{redo} · {title_of(step.heuristic)}", key=f"open-{step.id}",
            type="primary" if is_open else "secondary", on_click=ui.set_query, kwargs={"step": step.id},
        )  # fmt: skip
        st.badge(ui.plain(_excerpt(why(step), 34)), color=COLORS[step.state])  # type: ignore[arg-type]
        if step.cut:
            st.badge(f"{step.cut} by {ui.plain(step.cut_by or 'somebody')}", color="gray",
                     icon=":material/content_cut:")  # fmt: skip
        if node.word != sample_words.NONE and not step.cut:
            color = "green" if node.word == sample_words.ACCEPT else "red"
            st.badge(f"{node.word}ed", color=color)  # type: ignore[arg-type]
        if step.overruled:
            st.badge("kept in spite of a rule", color="violet")
        if node.is_flagged:
            st.badge("speaks to its reader", icon=":material/flag:", color="red")
        if step.parent_cosine is not None:
            st.caption(f"cosine {step.parent_cosine:.2f}", width="content")
        if node.difficulty is not None:
            st.caption(f"difficulty {node.difficulty:.0f}", width="content")


def _excerpt(text: str, most: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"


# --- one step ---


def _step(tree: Tree, node: Node) -> Sequence[CallTold]:
    step = node.step
    calls = calls_of(ui.workspace(), step)
    with st.container(horizontal=True, vertical_alignment="center"):
        title = f"Round {step.round} · {ui.plain(title_of(step.heuristic))}"
        st.markdown(f"**{title}**", width="content")
        if node.child is not None:
            ui.link("row", "Its row", icon=":material/article:", id=node.child.id)
    _buttons(tree, node)
    _edge(step, calls)
    return calls


def _answer(node: Node, calls: Sequence[CallTold]) -> None:
    st.caption("ANSWER")
    answers = [one.said for one in calls if one.phase == "evolve-answer"]
    text = node.child.response if node.child is not None else next(iter(answers), "")
    if text:
        ui.show_text(text, height=300)
    else:
        st.caption("It was not asked for.")


def _diff(tree: Tree, node: Node) -> None:
    """Show the task before and after, word by word."""
    step = node.step
    before = "" if step.parent is None else task_of(_parent(tree, int(step.parent)))
    after = step.task or (task_of(node.child) if node.child is not None else "")
    old, new = word_diff(before[:SHOWN], after[:SHOWN])
    told = "nobody recognised its parent" if step.parent is None else f"{len(before.split()):,} words"
    ui.compare(
        ui.side("Before", told, [("Task", old)]),
        ui.side("After", f"{len(after.split()):,} words" if after else why(step), [("Task", new)]),
        step.id,
    )


def _parent(tree: Tree, seq: int) -> Row[Any]:
    if seq == tree.root.seq:
        return tree.root
    for _, node in tree.walk():
        if node.child is not None and node.child.seq == seq:
            return node.child
    return samples.read(ui.workspace().database, [seq])[0]


def _edge(step: Row[Any], calls: Sequence[CallTold]) -> None:
    """Tell what stands on the edge: verdict, evidence, and each call with model, prompt and tokens."""
    ui.show_line(f"What became of it: {why(step)}")
    evidence = {name: value for name, value in step.evidence.items() if name != "link"}
    if "around" in evidence:
        ui.show_text(str(evidence["around"]))
    told = {name: value for name, value in evidence.items() if name not in ("around", "start", "end")}
    for name, value in told.items():
        ui.show_line(f"{name.replace('_', ' ')}: {value}")
    for one in step.overruled:
        ui.show_line(f"{one['person']} set this rule aside: {words_of_rule(one['rule'])}")
    if "link" in step.evidence:
        _link(step.evidence["link"])
    for one in calls:
        took = f"{one.tokens_in:,} tokens in, {one.tokens_out:,} out"
        prompt = f"{one.prompt_name} {one.prompt[:8]}"
        st.caption(ui.plain(f"{PHASES.get(one.phase, one.phase)} · {one.model} · {prompt} · {took}"))


def _link(link: Mapping[str, Any]) -> None:
    if "why" in link:
        ui.show_line(f"No parent recognised: {link['why']}")
        return
    how = (
        "holds its parent's text whole" if link["whole"] else f"has {link['share']:.0%} of its parent's words"
    )
    ui.show_line(f"Parent recognised: it {how}; of the next best it has {link['next']:.0%}")


def _buttons(tree: Tree, node: Node) -> None:
    step, is_ours = node.step, tree.evolution.kind == evolutions.EVOLVED
    is_live = ui.show_jobs_of(("evolve-redo",))
    with st.container(horizontal=True, vertical_alignment="center"):
        if node.child is not None and step.cut is None:
            _word(node, sample_words.ACCEPT, "Accept", "a", "thumb_up")
            _word(node, sample_words.REJECT, "Reject", "x", "thumb_down")
        if step.cut == PRUNED:
            st.button("Put the branch back", key=f"restore-{step.id}", icon=":material/undo:",
                      on_click=_act, args=(evolution_branch.restore, step.id))  # fmt: skip
        elif step.cut is None:
            st.button(
                "Prune", key=f"prune-{step.id}", icon=":material/content_cut:", shortcut="p",
                on_click=_act, args=(evolution_branch.prune, step.id),
                help="Cuts this step and all that grew from it; their samples are rejected. Can be put back.",
            )  # fmt: skip
        if step.state == REJECTED and step.cut is None and is_ours:
            st.button("Keep it anyway", key=f"keep-{step.id}", icon=":material/keep:",
                      on_click=_act, args=(evolution_branch.keep_anyway, step.id),
                      help="Sets the rule aside for this step. The next run asks for the answer it lacks.",
                      )  # fmt: skip
        if is_ours and step.cut != REDONE and not is_live:
            _redo(tree, node)
    if not is_ours:
        st.caption("This round was imported: nothing is known of its teacher, so it cannot be redone here.")


def _word(node: Node, word: str, label: str, key: str, icon: str) -> None:
    assert node.child is not None
    is_said = node.word == word
    st.button(
        f"{label}ed" if is_said else label, key=f"{word}-{node.step.id}", icon=f":material/{icon}:",
        shortcut=key,
        type="primary" if is_said else "secondary", on_click=_say,
        args=(node.child.id, sample_words.NONE if is_said else word),
    )  # fmt: skip


def _redo(tree: Tree, node: Node) -> None:
    steps = len(walk([node]))
    key_is_there = bool(tree.evolution.settings.get("base_url"))
    st.button(
        f"Redo: {steps * CALLS_A_STEP} calls at most", key=f"redo-{node.step.id}", icon=":material/replay:",
        disabled=not key_is_there, on_click=ui.start,
        args=("evolve-redo", {"step": node.step.id, "person": ui.person()}),
        help=f"Makes this step{' and what grew from it' if steps > 1 else ''} anew, with a new draw; nothing "
        "else is asked. The old branch stays in the tree.",
    )  # fmt: skip


def _act(action: Any, id: str) -> None:
    done = ui.act(action, ui.workspace(), id, ui.person())
    if done is not None:
        ui.toast(ui.plain(done.message))


def _say(id: str, word: str) -> None:
    done = ui.act(sample_words.say, ui.workspace(), id, word, ui.person())
    if done is not None:
        ui.toast(ui.plain(done.message))


@st.fragment
def _listed(chosen: Row[Any]) -> None:
    """Show the trees that fit, and the one that is open; neither menu nor filters are drawn for a click."""
    ui.show_waiting_messages()
    with ui.readable_errors():
        root = _list(chosen, _query())
        if root is None:
            return
        tree = tree_of(ui.workspace(), chosen.id, root)
        if tree is not None:
            _open_tree(tree)
        else:
            st.info("This tree is not in the evolution that is chosen.", icon=":material/search_off:")


def _open_tree(tree: Tree) -> None:
    left, right = st.columns([1, 1.1], gap="medium")
    with left:
        node = _tree(tree)
    if node is not None:
        with right:
            calls = _step(tree, node)
        _diff(tree, node)
        _answer(node, calls)


def _page() -> None:
    ui.heading(
        "Family trees",
        "Each task with every attempt to evolve it: what changed, by which heuristic, what it took, and why "
        "it lives or does not. The address keeps the view.",
    )
    found = evolutions.all_of(ui.workspace().database, evolutions.EVOLVED, evolutions.IMPORTED)
    if not found:
        ui.empty(
            "Nothing was evolved yet, so there is no tree. Run a round, or import one.",
            "evolve", "Evolve a set",
        )  # fmt: skip
        return
    chosen = ui.choose_evolution(found)
    _filters(chosen)
    _listed(chosen)


_page()
