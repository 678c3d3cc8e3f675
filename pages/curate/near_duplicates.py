"""Near-duplicates: look-alikes found, one of each kept; every stored pair can be read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

import ui
from curation import review
from curation.errors import DamagedWorkspace
from curation.keep_rules import RULES
from curation.near_duplicates import alarms_of
from curation.pair_browser import BELOW, Only, PairBrowser
from curation.pair_settings import SURE, Settings
from curation.pair_verdict import judge_pair
from curation.pair_what_if import REST
from curation.second_opinions import beside

SIZE = 20  # pairs or clusters a page
PAGING = ("at", "open")
DECISIONS = {
    "": "all pairs",
    "ask": "asked about",
    "drop": "dropped by the rule",
    "over budget": "over the budget: dropped by the rule",
    "keep-both": "a person kept both",
    "keep-left": "a person kept the left one",
    "keep-right": "a person kept the right one",
    "drop-both": "a person dropped both",
}
# What a pair can say beyond what can be chosen above.
OTHER_DECISIONS = {
    "not deciding": "decides no row",
    "below the threshold": "below the threshold",
    "rescued": "put back",
}
ORDERS = {"least": "nearest the threshold first", "most": "most alike first"}
FILTERS = (  # a parameter of the address, its label, what it reads
    ("source", "Source", "source"),
    ("against", "and source", "source"),
    ("method", "Origin", "method"),
    ("language", "Language", "language"),
)
TEXTS = ["instruction", "response", "all"]
VIEWS = {
    "Clusters": "Clusters",
    "Pairs": "Pairs",
    "Band": "Band and settings",
    "What if": "Gained and lost",
    "Sources": "By source",
    "Opinions": "Second opinions",
    "Reasons": "Why dropped",
}
OPINIONS = {"words": "Words", "code": "Code"}
WHICH = {"stay": "Both stay: missed by cosine", "all": "All"}
WAYS = {
    "ask": "Ask about the gray ones (recommended)",
    "paper": "Platypus paper: drop at 0.80 and above, the longest response stays, ask nothing",
    "notebook": "Platypus notebook: drop above 0.70, the first stays, ask nothing",
}


# --- running it ---


def _form(stage: dict[str, Any], browser: PairBrowser | None) -> None:
    used = stage["settings"] if stage["ran"] else {}
    with st.container(border=True):
        way = st.radio(
            "What happens to look-alikes",
            list(WAYS),
            format_func=WAYS.get,
            key="near_way",
            index=list(WAYS).index(used.get("preset") or "ask"),
        )
        settings = _own_settings(used, browser) if way == "ask" else {"preset": way}
        rows = stage["in"] if stage["ran"] else ui.funnel().samples
        st.caption(
            f"About {rows:,} rows. Texts seen before are not embedded again; new ones take about a second "
            "for every 15 to 40 of them on two cores. Nothing leaves this machine."
        )
        st.button(
            "Run again" if stage["ran"] else "Find near-duplicates",
            type="primary",
            key="near_run",
            icon=":material/play_arrow:",
            on_click=ui.start,
            args=("near-duplicates", settings),
        )


def _own_settings(used: dict[str, Any], browser: PairBrowser | None) -> dict[str, Any]:
    default = Settings()
    above = st.container()  # the band is drawn here, once the budget below is known
    a, b, c = st.columns([1, 1, 2])
    budget = a.number_input(
        "Pairs to ask about",
        0,
        100_000,
        int(used.get("budget", default.budget)),
        50,
        key="near_budget",
        help="The review budget: the most uncertain ones; beyond it the paper's rule drops.",
    )
    text = b.selectbox(
        "Text compared",
        TEXTS,
        key="near_text",
        index=TEXTS.index(used.get("text", default.text)),
    )
    keep = c.selectbox(
        "Who stays",
        list(RULES),
        key="near_keep",
        index=list(RULES).index(used.get("keep", default.keep)),
        format_func=lambda rule: f"{rule}: {RULES[rule]}",
        help="Ties go to the longest response, then to the smaller id.",
    )
    sources = _sources(used) if keep == "source" else []
    opinions = st.checkbox(
        "Compare words and code, too",
        bool(used.get("opinions", default.opinions)),
        key="near_opinions",
        help="Lists rows whose responses repeat another's words, or its code under other names, whatever the "
        "cosine of their questions says. Drops nothing.",
    )
    draft = st.checkbox(
        "Embed in bfloat16 first",
        bool(used.get("draft", default.draft)),
        key="near_draft",
        help="The same pairs sooner where many texts are new: float32 is computed only for rows of pairs "
        "near a deciding cosine. Pairs below the band are not stored then. A few lines are timed first: "
        "where the processor has no bfloat16, everything is embedded in float32.",
    )
    with above:
        low, high = (
            _edges(used) if browser is None or len(browser.steps) < 3 else _band(browser, used, budget)
        )
    kept = {} if draft else {"floor": min(default.floor, low)}
    return {
        "threshold": low,
        **kept,
        "draft": draft,
        "ask_high": high,
        "budget": int(budget),
        "text": text,
        "keep": keep,
        "opinions": opinions,
        **({"sources": sources} if keep == "source" else {}),
    }


def _sources(used: dict[str, Any]) -> list[str]:
    there = ui.sources()
    return st.multiselect(
        "Sources, the best first",
        there,
        [source for source in used.get("sources", []) if source in there],
        key="near_sources",
        format_func=ui.revealed,
        help="A row of the one named first stays before rows of those named later; unnamed ones come last.",
    )


def _edges(used: dict[str, Any]) -> tuple[float, float]:
    """Ask for the edges of the band by numbers: there are no pairs yet to show."""
    a, b, _ = st.columns([1, 1, 2])
    low = a.number_input(
        "Ask from",
        0.5,
        1.0,
        float(used.get("threshold", Settings.threshold)),
        0.01,
        key="near_threshold",
        help="Cosine from which two rows count as alike. Platypus: 0.8.",
    )
    high = b.number_input(
        "Drop from",
        low,
        1.0,
        max(low, float(used.get("ask_high", SURE))),
        0.01,
        key="near_high",
        help="From here a pair is dropped without asking when the responses agree, too.",
    )
    return low, high


def _band(browser: PairBrowser, used: dict[str, Any], budget: int) -> tuple[float, float]:
    """Show the pairs of the run with the two handles, and give the edges of the band."""
    steps, what_if = browser.steps, ui.what_if(browser)
    low = _step(browser, "low", used.get("ask_low") or used.get("threshold", Settings.threshold))
    high = max(low, _step(browser, "high", used.get("ask_high", SURE)))
    seconds, measured = ui.pace()
    ui.band(
        {
            "steps": steps,
            "pairs": [pairs for *_, pairs in browser.histogram()],
            "clusters": browser.cluster_counts,
            **{name: getattr(what_if.bands, name).tolist() for name in ("sure", "gray", "questions")},
            "low": low,
            "high": high,
            "budget": int(budget),
            "pace": seconds,
            "measured": measured,
        },
        "near_band",
        moved=lambda low, high: ui.set_query(low=f"{steps[low]:.2f}", high=f"{steps[high]:.2f}"),
        picked=lambda step: _read_bin(steps[step]),
    )
    st.caption(
        "Drag the handles, or use the arrow keys. A bar opens its pairs. Counted by the rule alone, on the "
        "pairs of the last run; pairs above the band whose responses disagree are asked about, too."
    )
    return steps[low], steps[high]


def _step(browser: PairBrowser, parameter: str, default: float) -> int:
    """Give the step that is nearest to a cosine of the address."""
    try:
        wanted = float(st.query_params.get(parameter, default))
    except ValueError:
        wanted = default
    return min(range(len(browser.steps)), key=lambda step: abs(browser.steps[step] - wanted))


def _read_bin(cosine: float) -> None:
    ui.set_query(PAGING, view="Pairs", bin=f"{cosine:.2f}", t=f"{cosine:.2f}")


# --- reading it ---


def _threshold(browser: PairBrowser) -> float:
    """Show the slider with what the threshold means, and give it."""
    try:
        asked = float(st.query_params.get("t", browser.threshold))
    except ValueError:
        asked = browser.threshold
    st.session_state["near_t"] = min(1.0, max(browser.floor, round(asked, 2)))
    with st.container(border=True):
        left, right = st.columns([2, 3], gap="medium", vertical_alignment="center")
        with left:
            threshold = st.slider(
                "Look at pairs from this cosine on",
                browser.floor,
                1.0,
                step=0.01,
                key="near_t",
                on_change=_moved,
                help="Moves through the stored pairs; decides nothing.",
            )
        with right:
            _meaning(browser, threshold)
    return float(threshold)


def _moved() -> None:
    ui.set_query((*PAGING, "bin"), t=f"{st.session_state['near_t']:.2f}")


def _meaning(browser: PairBrowser, threshold: float) -> None:
    found = browser.summary(threshold)
    rows = [
        f"**{found.pairs:,}** pairs in **{found.clusters:,}** clusters of {found.rows_in_clusters:,} rows; "
        f"the largest holds {found.largest_cluster:,}."
    ]
    rows.append(f"The last run decided from **{browser.threshold:.2f}** on.")
    if abs(threshold - browser.threshold) > 1e-9:
        change = ui.what_if(browser).change(threshold)
        rows[-1] += (
            f" From {threshold:.2f} on the rule alone would give back **{len(change.gained):,}** rows "
            f"and take out **{len(change.lost):,}** others."
        )
    else:
        rows[-1] += f" By this threshold alone **{found.dropped_by_paper_rule:,}** rows would fall."
    st.markdown("  \n".join(rows))


def _offset() -> int:
    asked = st.query_params.get("at", "0")
    return int(asked) if asked.isdecimal() and len(asked) < 10 else 0


def _list(key: str, columns: Mapping[str, Sequence[Any]], config: Mapping[str, Any]) -> None:
    """Show a page of a list; the row that is clicked is opened below, and stands in the address."""
    ui.keep_open_row(
        st.dataframe(
            ui.frame(columns),
            hide_index=True,
            on_select="rerun",
            selection_mode="single-cell",
            key=f"{key}_{_offset()}",
            height=250,
            column_config=dict(config),
        )
    )


def _turn(total: int) -> None:
    at = _offset()
    with st.container(horizontal=True, vertical_alignment="center"):
        last = min(total, at + SIZE)
        st.caption(f"{at + 1:,} to {last:,} of {total:,}")
        st.space("stretch")
        st.button(
            "Previous",
            key="near_previous",
            icon=":material/chevron_left:",
            disabled=at == 0,
            shortcut="Left",
            on_click=ui.set_query,
            args=(("open",),),
            kwargs={"at": str(max(0, at - SIZE))},
        )
        st.button(
            "Next",
            key="near_next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=last >= total,
            shortcut="Right",
            on_click=ui.set_query,
            args=(("open",),),
            kwargs={"at": str(at + SIZE)},
        )


def _filters(browser: PairBrowser) -> tuple[str, str | None, Only]:
    words = browser.facts.words
    columns = st.columns(6)
    with columns[0]:
        order = ui.choose("Order", "order", list(ORDERS), ORDERS.get, default="least", clear=PAGING)
    with columns[1]:
        decision = ui.choose("Decision", "decision", list(DECISIONS), DECISIONS.get, clear=PAGING) or None
    asked: dict[str, str] = {}
    for column, (name, label, kind) in zip(columns[2:], FILTERS, strict=True):
        with column:
            asked[name] = ui.choose(label, name, ["", *words[kind]], lambda word: word or "any", clear=PAGING)
    return order, decision, Only(**asked)


def _bin_of(browser: PairBrowser, threshold: float) -> tuple[float, float]:
    """Give the cosines to list: from the threshold on, or one bar of the histogram."""
    bin = _step(browser, "bin", threshold) if "bin" in st.query_params else None
    if bin is None or bin + 1 >= len(browser.steps):
        return threshold, 1.0
    low, high = browser.steps[bin], browser.steps[bin + 1]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Only pairs from **{low:.2f}** to {high:.2f}.", width="content")
        st.button(
            "All from here on", key="near_no_bin", on_click=ui.set_query, args=(("bin", *PAGING),),
            icon=":material/close:",
        )  # fmt: skip
    return low, high


def _pairs(browser: PairBrowser, threshold: float) -> None:
    order, decision, only = _filters(browser)
    low, high = _bin_of(browser, threshold)
    total = browser.count(low, high, decision, only)
    if not total:
        st.info(
            "No pair is like that. Move the threshold down, or choose other filters.",
            icon=":material/search_off:",
        )
        return
    lines = browser.page(low, high, order, _offset(), SIZE, decision, only)
    if not lines:
        ui.set_query(PAGING)
        st.rerun()
    chosen = ui.open_row(len(lines))
    _list(
        "near_pairs",
        {
            "Cosine": [p.cosine for p in lines],
            "Decision": [_words(p.decision) for p in lines],
            "Left": [_question(p.left) for p in lines],
            "Right": [_question(p.right) for p in lines],
        },
        {
            "Cosine": st.column_config.NumberColumn(format="%.4f", width=70),
            "Decision": st.column_config.TextColumn(width=140),
        },
    )
    _turn(total)
    _show_pair(browser, lines[chosen])


def _words(decision: str) -> str:
    return DECISIONS.get(decision) or OTHER_DECISIONS.get(decision, decision)


def _question(row: Any) -> str:
    return f"{row.instruction}  {row.input}" if row.input else row.instruction


def _show_pair(browser: PairBrowser, pair: Any) -> None:
    responses = f" · responses {pair.response_cosine:.3f}" if pair.response_cosine is not None else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**Cosine {pair.cosine:.4f}**{responses} · {ui.plain(_words(pair.decision))}",
            width="content",
        )
        st.space("stretch")
        if pair.item:
            ui.question_link(pair.item)
        ui.link("row", "Left row", icon=":material/article:", id=pair.left.id)
        ui.link("row", "Right row", icon=":material/article:", id=pair.right.id)
    states = browser.states_of([pair.left.seq, pair.right.seq])
    if pair.decision != BELOW:
        _verdicts(pair.left, pair.right, states, ("left", "right"))
    st.caption(f"{_second_opinion(pair.left, pair.right)} Marked: words that only one of the two has.")
    titles = f"Left · {states[0]}", f"Right · {states[1]}"
    ui.compare_rows(pair.left, pair.right, titles, f"{pair.left.id}-{pair.right.id}")


def _second_opinion(left: Any, right: Any) -> str:
    """Say what words and code make of a pair."""
    told = beside(left, right)
    found = [
        f"{name} {score:.2f}"
        for name, score in (
            ("words of the questions", told.question),
            ("of the responses", told.response),
            ("code without its names", told.code),
        )
        if score is not None
    ]
    return f"Second opinions (shared 5-grams, 0 to 1): {', '.join(found)}." if found else ""


def _verdicts(one: Any, other: Any, states: Sequence[str], named: tuple[str, str]) -> None:
    """Let a person decide on a pair, asked about or not, and put a dropped row back."""
    with st.container(horizontal=True, vertical_alignment="center"):
        for verdict, label, help in (
            ("keep-left", f"Keep the {named[0]}", "It stays before the other one; a person's keep holds."),
            ("keep-right", f"Keep the {named[1]}", "It stays before the other one; a person's keep holds."),
            ("keep-both", "Cut: not alike", "They no longer count as look-alikes; both can stay."),
            ("drop-both", "Drop both", "Neither is worth training on."),
        ):
            st.button(
                label,
                key=f"near_{verdict}-{one.id}-{other.id}",
                help=help,
                on_click=_judge,
                args=(one.id, other.id, verdict),
            )
        for row, state, name in zip((one, other), states, named, strict=True):
            if state == "dropped":
                st.button(
                    f"Put the {name} back",
                    key=f"near_back-{row.id}",
                    icon=":material/undo:",
                    help="Pending for the next stage; the other row stays as it is.",
                    on_click=_put_back,
                    args=(row.id,),
                )


def _judge(left: str, right: str, verdict: str) -> None:
    done = ui.act(judge_pair, ui.workspace(), left, right, verdict, ui.person())
    if done is not None:
        said = (
            "Saved. Take it back on the Review page or on the row's own page."
            if done.changed
            else done.message
        )
        ui.toast(ui.plain(said))


def _put_back(id: str) -> None:
    done = ui.act(review.rescue, ui.workspace(), id, ui.person(), "near-duplicates")
    if done is not None:
        ui.toast(ui.plain(done.message))


def _clusters(browser: PairBrowser, threshold: float) -> None:
    total = browser.summary(threshold).clusters
    if not total:
        st.info("No two rows are that alike. Move the threshold down.", icon=":material/search_off:")
        return
    clusters = browser.clusters(threshold, _offset(), SIZE)
    if not clusters:
        ui.set_query(PAGING)
        st.rerun()
    sizes = browser.cluster_sizes(threshold)
    st.caption(
        "Clusters by their rows: "
        + " · ".join(f"{name} rows: {number:,}" for name, number in sizes.items() if number)
    )
    chosen = ui.open_row(len(clusters))
    _list(
        "near_clusters",
        {
            "Rows": [c.rows for c in clusters],
            "Kept": [c.states["kept"] for c in clusters],
            "Pending": [c.states["pending"] for c in clusters],
            "Dropped": [c.states["dropped"] for c in clusters],
            "One of them": [c.example for c in clusters],
        },
        {
            name: st.column_config.NumberColumn(format="localized", width=70)
            for name in ("Rows", "Kept", "Pending", "Dropped")
        },
    )
    _turn(total)
    _members(browser, threshold, clusters[chosen])


def _members(browser: PairBrowser, threshold: float, cluster: Any) -> None:
    members = browser.cluster(threshold, cluster.seq)
    more = f"; the first {len(members)} are listed" if cluster.rows > len(members) else ""
    st.markdown(f"**A cluster of {cluster.rows:,} rows** at {threshold:.2f}{more}")
    st.dataframe(
        ui.frame(
            {
                "State": [m.state for m in members],
                "Like a kept row": [f"{m.keepers[0][1]:.4f}" if m.keepers else "" for m in members],
                "Instruction": [_question(m.sample) for m in members],
                "Response": [m.sample.response for m in members],
            }
        ),
        hide_index=True,
        height=min(300, 38 * len(members) + 42),
        column_config={
            "Like a kept row": st.column_config.TextColumn(width=110),
            "State": st.column_config.TextColumn(width=80),
        },
    )
    _compare_members(members, cluster.seq)


def _compare_members(members: list[Any], cluster: int) -> None:
    """Let a person hold any row of a cluster against the kept row that it resembles most."""
    by_id = {member.sample.id: member.sample for member in members}
    others = [m for m in members if m.keepers and m.keepers[0][0] in by_id]
    if not others:
        return
    number = st.selectbox(
        "Compare with the kept row it resembles most",
        range(len(others)),
        key=f"near_member_{cluster}",
        format_func=lambda n: ui.revealed(f"{others[n].state}: {_question(others[n].sample)[:120]}"),
    )
    other = others[number]
    keeper = by_id[other.keepers[0][0]]
    with st.container(horizontal=True):
        ui.link("row", "Kept row", icon=":material/article:", id=keeper.id)
        ui.link("row", "Other row", icon=":material/article:", id=other.sample.id)
    _verdicts(keeper, other.sample, ("kept", other.state), ("kept row", "other row"))
    ui.compare_rows(
        keeper, other.sample, ("Kept", other.state.capitalize()), f"{keeper.id}-{other.sample.id}"
    )


def _next(stage: dict[str, Any]) -> None:
    """Say what to do next, and what was compared only in part."""
    cut = stage["report"].get("cut_short")
    waiting = ui.review_counts()
    with st.container(horizontal=True, vertical_alignment="center"):
        if waiting["open"] + waiting["disputed"]:
            asked = ui.count_of(waiting["open"] + waiting["disputed"], "question waits", "questions wait")
            ui.link("review", f"Next: {asked} on Review", icon=":material/arrow_forward:")
        else:
            ui.link("decontaminate", "Next: contamination", icon=":material/arrow_forward:")
        band = stage["report"].get("error_band")
        if band:
            st.caption(
                f"Cosines come from bfloat16, right to {band:.4f}; near a deciding one they are exact.",
                width="content",
            )
        pace = stage["report"].get("draft_pace")
        if pace:
            st.caption(
                f"All in float32: bfloat16 took {pace:.1f} times its seconds on this machine.",
                width="content",
            )
        if cut:
            st.caption(
                f"{ui.count_of(cut, 'row was', 'rows were')} compared on the first 256 word pieces only.",
                width="content",
            )


# --- second opinions ---


def _opinions(browser: PairBrowser) -> None:
    """List rows that repeat another row's words or code."""
    if browser.opinions is None:
        st.info(
            "The last run compared vectors only. Choose “Compare words and code, too” under "
            "“Band and settings” and run again.",
            icon=":material/difference:",
        )
        return
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    with left:
        kind = ui.switch("What is repeated", "repeated", list(OPINIONS), PAGING, shown=OPINIONS.get)
    with right:
        which = ui.switch("Which rows", "which", list(WHICH), PAGING, shown=WHICH.get)
    found = browser.repeats(kind, which == "stay")
    st.caption(
        "Jaccard similarity of 5-grams of the responses' words, from 0.85 on; for code, of what is left "
        "without names, strings and comments. Each row stands with one it repeats; none is dropped for it."
    )
    part = found[_offset() : _offset() + SIZE]
    if not len(part):
        st.info("No row is like that.", icon=":material/search_off:")
        return
    seqs = [(int(browser.seqs[one["left"]]), int(browser.seqs[one["right"]])) for one in part]
    rows = browser.samples([seq for both in seqs for seq in both])
    chosen = ui.open_row(len(part))
    _list(
        "near_opinions",
        {
            "Shared": part["score"].tolist(),
            "Cosine": part["cosine"].tolist(),
            "Left": [_question(rows[a]) for a, _ in seqs],
            "Right": [_question(rows[b]) for _, b in seqs],
        },
        {name: st.column_config.NumberColumn(format="%.4f", width=70) for name in ("Shared", "Cosine")},
    )
    _turn(len(found))
    one, other = (rows[seq] for seq in seqs[chosen])
    states = browser.states_of([one.seq, other.seq])
    with st.container(horizontal=True):
        ui.link("row", "Left row", icon=":material/article:", id=one.id)
        ui.link("row", "Right row", icon=":material/article:", id=other.id)
    ui.compare_rows(one, other, (f"Left · {states[0]}", f"Right · {states[1]}"), f"{one.id}-{other.id}")


# --- what if, and who repeats whom ---


def _what_if(browser: PairBrowser, threshold: float) -> None:
    """List the rows that another threshold would give back or take out."""
    if abs(threshold - browser.threshold) < 1e-9:
        st.info(
            f"The last run decided from {browser.threshold:.2f} on. Move the slider above to see which rows "
            "another threshold would give back or take out.",
            icon=":material/swap_horiz:",
        )
        return
    what_if = ui.what_if(browser)
    change = what_if.change(threshold)
    gained = f"Given back: {len(change.gained):,}", change.gained, browser.threshold
    lost = f"Taken out: {len(change.lost):,}", change.lost, threshold
    labels = {"back": gained[0], "out": lost[0]}
    way = ui.switch("Which rows", "moved", list(labels), PAGING, shown=labels.get)
    _, places, decided = gained if way == "back" else lost
    st.caption(
        f"The rule alone, from {threshold:.2f} on, beside the same from {browser.threshold:.2f} on. What "
        "people settled is left out and stays as it is. "
        + (
            "Each row with the one it fell for."
            if way == "back"
            else "Each row with the one it would fall for."
        )
    )
    if not len(places):
        st.info("No row is like that.", icon=":material/search_off:")
        return
    moved = what_if.moved(places[_offset() : _offset() + SIZE].tolist(), decided)
    if not moved:
        ui.set_query(PAGING)
        st.rerun()
    chosen = ui.open_row(len(moved))
    _list(
        "near_moved",
        {
            "Cosine": [one.cosine for one in moved],
            "Row": [_question(one.sample) for one in moved],
            "Falls for": [_question(one.keeper) for one in moved],
        },
        {"Cosine": st.column_config.NumberColumn(format="%.4f", width=70)},
    )
    _turn(len(places))
    one = moved[chosen]
    ui.compare_rows(
        one.keeper, one.sample, ("Stays", "Given back" if way == "back" else "Taken out"),
        f"{one.keeper.id}-{one.sample.id}",
    )  # fmt: skip


def _by_source(browser: PairBrowser, threshold: float) -> None:
    removal = ui.removal_by_source(browser.run_id)
    for alarm in alarms_of(removal):
        st.warning(ui.plain(alarm), icon=":material/warning:")
    st.markdown("**What each source lost** in the last run, verdicts included")
    st.dataframe(
        ui.frame(
            {
                "Source": [one["source"] for one in removal],
                "Rows seen": [one["seen"] for one in removal],
                "Dropped": [one["dropped"] for one in removal],
                "Share": [one["share"] for one in removal],
            }
        ),
        hide_index=True,
        column_config={
            "Rows seen": st.column_config.NumberColumn(format="localized"),
            "Dropped": st.column_config.NumberColumn(format="localized"),
            "Share": st.column_config.ProgressColumn(format="percent", min_value=0.0, max_value=1.0),
        },
    )
    matrix = ui.what_if(browser).matrix(threshold)
    st.markdown(f"**Who repeats whom** from {threshold:.2f} on")
    st.caption(
        "Of the rows of the source on the left, the share that resembles a row of the source above. "
        "A click opens the pairs of the two."
    )
    share = matrix.repeated / np.maximum(matrix.rows, 1)[:, None]
    columns = _columns(matrix)  # not by the names of sources: one may be called "Rows"
    table = ui.frame(
        {"Source": list(matrix.sources), "Rows": matrix.rows.tolist()}
        | {column: share[:, n].tolist() for n, column in enumerate(columns)}
    )
    config = {
        column: st.column_config.NumberColumn(ui.revealed(name), format="percent", width="small")
        for column, name in zip(columns, matrix.sources, strict=True)
    }
    event = st.dataframe(
        table.style.map(_shade, subset=columns),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-cell",
        key="near_matrix",
        column_config={"Rows": st.column_config.NumberColumn(format="localized", width="small"), **config},
    )
    _open_cell(event, matrix)


def _columns(matrix: Any) -> list[str]:
    return [f"source {number}" for number in range(len(matrix.sources))]


def _shade(share: float) -> str:
    return f"background-color: rgba(232, 163, 61, {0.8 * share:.2f})"


def _open_cell(event: Any, matrix: Any) -> None:
    cells = event.selection.cells if event is not None else []
    if not cells:
        return
    row, column = cells[0]
    if column not in _columns(matrix):
        return
    one, other = matrix.sources[row], matrix.sources[_columns(matrix).index(column)]
    if REST in (one, other):
        return
    ui.set_query((*PAGING, "bin"), view="Pairs", source=one, against=other)
    st.rerun()


def _read(stage: dict[str, Any], live: bool) -> None:
    try:
        browser = ui.pair_browser()
    except DamagedWorkspace as error:  # of an older Winnow, or harmed: another run mends it
        ui.say_error(error)
        browser = None
    if browser is None:
        if not live:
            _form(stage, None)
        return
    view = ui.switch("View", "view", list(VIEWS), PAGING, shown=VIEWS.get)
    if view == "Band":
        if live:
            st.info("A run is under way; its band can be moved when it ends.", icon=":material/hourglass:")
        else:
            _form(stage, browser)
        return
    if view == "Reasons":
        ui.show_reasons(stage)
        return
    if view == "Opinions":
        _opinions(browser)
        return
    threshold = _threshold(browser)
    {"Pairs": _pairs, "Clusters": _clusters, "What if": _what_if, "Sources": _by_source}[view](
        browser, threshold
    )


ui.heading(
    "Near-duplicates",
    "Rows whose questions say the same: cosine of all-MiniLM-L6-v2, as Platypus. Every pair can be read.",
)
counts = ui.funnel()
stage = counts.stages[1]
if not counts.samples:
    ui.empty("There are no samples to compare yet.", "import", "Import my data")
else:
    ui.stale_note(stage)
    live = ui.show_jobs_of(("near-duplicates",))
    if stage["ran"]:
        ui.show_counts(stage)
        _next(stage)
        _read(stage, live)
    elif not live:
        _form(stage, None)
