"""Review: one gray case at a time, both texts on the screen, a key for every verdict."""

import time
from typing import Any

import streamlit as st

import ui
from curation import review
from curation.match_browser import task_of
from curation.review import Case

# Seconds since a case was sent before a verdict counts. A key waits longer, 0.35 s since the browser drew the
# case (components/compare.js): this is the fence behind that one, and the one for the mouse.
LOOK = 0.25
KINDS = {
    "": "All questions",
    "near-duplicates": "Near-duplicates",
    "decontaminate": "Contamination",
    "disputed": "Disputed",
}
PAIR_KEYS = (
    ("keep-left", "Keep left", "1", "The left row says it better; the right one is dropped."),
    ("keep-right", "Keep right", "2", "The right row says it better; the left one is dropped."),
    ("keep-both", "Keep both", "3", "Similar but different tasks: both stay."),
    ("drop-both", "Drop both", "4", "Neither is worth training on."),
)
CONTAMINATION_KEYS = (
    ("duplicate:drop", "Same task: drop", "1", "The row gives the benchmark task away."),
    ("gray-area:drop", "Gray: drop", "2", "Not the same task, but close enough to help a model cheat."),
    ("gray-area:keep", "Gray: keep", "3", "Close, but it does not give the task away."),
    ("different:keep", "Different: keep", "4", "Similar words, another task."),
    (
        "idiom:keep",
        "Idiom: keep",
        "5",
        "The shared text is a common phrase: it will flag no other row either.",
    ),
)
RARE = (
    ("duplicate:keep", "Same task: keep"),
    ("different:drop", "Different: drop"),
    ("idiom:drop", "Idiom: drop"),
)


def _head() -> str | None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=240):
            kind = ui.choose("Questions", "kind", list(KINDS), KINDS.get, clear=("item",))
        with st.container(width=220):
            name = ui.type_in(
                "Your name",
                "as",
                "me",
                help="Votes are kept under it; colleagues vote beside you.",
                max_chars=60,
            )
        st.session_state["person"] = name.strip() or "me"
        st.space("stretch")
        counts = ui.review_counts()
        agreement = ""
        if counts["agreement"] is not None:
            both = ui.count_of(counts["several"], "case")
            agreement = f" · people agree on {counts['agreement']:.0%} of {both} that several judged"
        disputed = f" · {counts['disputed']:,} disputed" if counts["disputed"] else ""
        st.caption(f"{counts['open']:,} open · {counts['settled']:,} settled{disputed}{agreement}")
    return kind or None


def _vote(case: Case, verdict: str) -> None:
    """Count a verdict on the very case its button belongs to, once that case could be read."""
    shown, since = st.session_state.get("review_shown", (None, 0.0))
    if shown != case.reference or time.monotonic() - since < LOOK:
        return  # a held or repeated key: this case only just appeared, or is not even drawn to its end
    note = st.session_state.get(f"note-{case.reference}", "")
    done = ui.act(review.vote, ui.workspace(), case.reference, verdict, ui.person(), note)
    if done is not None and done.changed:
        st.session_state["review_last"] = f"{_words(verdict)} saved."
        ui.set_query(("look",), item=case.after)
    elif done is not None:
        now = review.case(ui.workspace(), case.id)  # judged in another tab, maybe: what is shown may be old
        own = now.votes.get(ui.person(), verdict) if now is not None else verdict
        how = " Take the vote back below to change it." if "look" in st.query_params else ""
        st.session_state["review_last"] = (
            f"{ui.plain(ui.person())} decided this case already: {_words(own)}.{how}"
        )


def _words(verdict: str) -> str:
    return ui.plain(verdict.replace(":", ", ").replace("-", " "))


def _undo(reference: str | None = None) -> None:
    """Take back the vote on one case, else the newest, and show its case."""
    done = ui.act(review.undo, ui.workspace(), ui.person(), reference)
    if done is not None:
        st.session_state["review_last"] = "Your vote is taken back."
        ui.set_query(("look",), item=done.item.partition("@")[0])


def _buttons(case: Case) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", key="verdicts"):
        with st.container(horizontal=True, width="content"):
            _verdicts(case)
        with st.container(horizontal=True, width="content"):
            _moves(case)


def _verdicts(case: Case) -> None:
    for verdict, label, key, help in PAIR_KEYS if case.kind == "near-duplicates" else CONTAMINATION_KEYS:
        # The key holds the version that is shown, and so does the argument: a press that comes late names
        # the case it was made on, never the one that came after.
        st.button(
            label,
            key=f"{verdict}-{case.reference}",
            shortcut=key,
            help=help,
            on_click=_vote,
            args=(case, verdict),
            type="primary" if case.votes.get(ui.person()) == verdict else "secondary",
        )


def _moves(case: Case) -> None:
    st.button(
        "Undo",
        key=f"undo-{case.reference}",
        shortcut="U",
        icon=":material/undo:",
        on_click=_undo,
        help="Takes back your newest vote and shows its case.",
    )
    st.button(
        "Previous",
        key=f"before-{case.reference}",
        shortcut="Left",
        icon=":material/chevron_left:",
        disabled=case.before is None,
        on_click=ui.set_query,
        kwargs={"item": case.before, "look": "1"},
    )
    st.button(
        "Skip",
        key=f"skip-{case.reference}",
        shortcut="Right",
        icon=":material/chevron_right:",
        icon_position="right",
        disabled=case.after is None,
        on_click=ui.set_query,
        args=(("look",),),
        kwargs={"item": case.after},
    )


def _pair(case: Case) -> None:
    cosine = case.evidence["cosine"]
    response = case.evidence.get("response_cosine")
    told = f"cosine of the questions **{cosine:.3f}**"
    if response is not None:
        told += f", of the responses **{response:.3f}**"
    st.markdown(
        f"{ui.plain(case.evidence['why']).capitalize()} ({told}). Marked: words that only one of them has."
    )
    ui.compare_rows(case.left, case.right, ("Left (1)", "Right (2)"), case.reference)


def _contamination(case: Case) -> None:
    matches = case.evidence["matches"]
    number = 0
    if len(matches) > 1:
        number = st.selectbox(
            "Tasks it resembles",
            range(len(matches)),
            key=f"task-{case.reference}",
            format_func=lambda n: ui.revealed(
                f"{matches[n]['benchmark']} {matches[n]['item']}: {matches[n]['joint']:.3f}"
            ),
        )
        st.caption(f"Your verdict covers all {len(matches)} tasks listed.")
    match = matches[number]
    st.markdown(
        f"{ui.plain(case.evidence['why']).capitalize()}. "
        + ("Marked: the text they share." if match["hits"] else "Marked: words that only one of them has.")
    )
    task = task_of(ui.workspace(), match["benchmark"], match["item"])
    if task is not None:
        ui.compare_with_task(case.left, task, match["hits"], case.reference)


def _more(case: Case) -> None:
    left, right = st.columns([2, 1])
    left.text_input(
        "Note (kept with your vote)",
        key=f"note-{case.reference}",
        max_chars=1_000,
        placeholder="Tab leaves this box; then the keys count again",
    )
    with right:
        ui.link(
            "row",
            "Whole story of the left row" if case.right is not None else "Whole story of the row",
            icon=":material/article:",
            id=case.left.id,
        )
        if case.right is not None:
            ui.link("row", "Whole story of the right row", icon=":material/article:", id=case.right.id)
    if case.kind == "decontaminate":
        with st.expander("Rare verdicts"), st.container(horizontal=True):
            for verdict, label in RARE:
                st.button(label, key=f"{verdict}-{case.reference}", on_click=_vote, args=(case, verdict))
    if ui.person() in case.votes:
        st.button(
            "Take back my vote on this case",
            key=f"undo-this-{case.reference}",
            icon=":material/undo:",
            on_click=_undo,
            args=(case.reference,),
        )
    if case.state == "disputed" or ui.person() in case.votes:
        for person, verdict in case.votes.items():
            ui.show_line(f"{person}: {verdict}")
    elif case.votes:
        st.caption(
            f"{ui.count_of(len(case.votes), 'other person has', 'other people have')} voted; "
            "shown after your own vote."
        )


def _case(case: Case) -> None:
    buttons = st.container()  # above the evidence, but filled after it: no button comes before its case
    place = f"**{KINDS[case.kind]}** · question {case.position:,} of {case.total:,}"
    if case.state != "open":
        place += f" · {case.state}"
    st.markdown(
        place + (f" · {st.session_state['review_last']}" if st.session_state.get("review_last") else "")
    )
    (_pair if case.kind == "near-duplicates" else _contamination)(case)
    with buttons:
        _buttons(case)
    _more(case)
    if st.session_state.get("review_shown", (None,))[0] != case.reference:
        st.session_state["review_shown"] = (case.reference, time.monotonic())


def _nothing_left(counts: dict[str, Any]) -> None:
    stages = {stage["stage"]: stage for stage in counts.stages}
    if not any(stages[name]["ran"] for name in ("near-duplicates", "decontaminate")):
        ui.empty(
            "Questions come from near-duplicates and contamination; neither ran yet.",
            "near-duplicates",
            "Find near-duplicates",
        )
        return
    st.success("Nothing is left to ask.", icon=":material/task_alt:")
    last = ui.review_counts()["settled"]
    if last:
        st.button(
            "Undo my newest vote", key="undo-last", shortcut="U", icon=":material/undo:", on_click=_undo
        )
    ui.link("datasets", "Next: freeze the set", icon=":material/arrow_forward:")


ui.heading(
    "Review",
    "Gray cases for a person. Keys: the number on a button, U to undo, left and right arrows to move.",
)
counts = ui.funnel()
kind = _head()
case = review.case(ui.workspace(), st.query_params.get("item"), kind)
if case is not None and case.state == "settled" and "look" not in st.query_params:
    case = review.case(ui.workspace(), None, kind)  # reloaded right after a vote: go on with the next one
if case is None:
    _nothing_left(counts)
else:
    if st.query_params.get("item") != case.id:
        st.query_params["item"] = case.id
    _case(case)
