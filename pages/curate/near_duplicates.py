"""Near-duplicates: look-alikes found, one of each kept; every stored pair can be read."""

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

import ui
from curation.near_duplicates import PRESETS, SURE, Settings
from curation.pair_browser import PairBrowser

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
RULE = "#e0a030"  # the line of the threshold: seen on light and on dark
# What a pair can say beyond what can be chosen above.
OTHER_DECISIONS = {
    "not deciding": "decides no row",
    "below the threshold": "below the threshold",
    "rescued": "put back",
}
WAYS = {
    "ask": "Ask about the gray ones (recommended)",
    "paper": "Platypus paper: drop at 0.80 and above, the longest response stays, ask nothing",
    "notebook": "Platypus notebook: drop above 0.70, the first stays, ask nothing",
}


# --- running it ---


def _form(stage: dict[str, Any]) -> None:
    used = stage["settings"] if stage["ran"] else {}
    way = st.radio(
        "What happens to look-alikes",
        list(WAYS),
        format_func=WAYS.get,
        key="near_way",
        index=list(WAYS).index(used.get("preset") or "ask"),
    )
    if way == "ask":
        settings = _own_settings(used)
    else:
        preset = PRESETS[way]
        settings = {
            "threshold": preset.threshold,
            "floor": preset.floor,
            "keep": preset.keep,
            "budget": preset.budget,
            "preset": way,
        }
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


def _own_settings(used: dict[str, Any]) -> dict[str, Any]:
    default = Settings()
    a, b, c, d = st.columns(4)
    threshold = a.number_input(
        "Threshold",
        0.5,
        1.0,
        float(used.get("threshold", default.threshold)),
        0.01,
        key="near_threshold",
        help="Cosine from which two rows count as alike. Platypus: 0.8.",
    )
    high = b.number_input(
        "Sure from",
        threshold,
        1.0,
        max(threshold, float(used.get("ask_high", SURE))),
        0.01,
        key="near_high",
        help="From here a pair is dropped without asking when the responses agree, too.",
    )
    budget = c.number_input(
        "Pairs to ask about",
        0,
        100_000,
        int(used.get("budget", default.budget)),
        50,
        key="near_budget",
        help="The most uncertain ones; beyond that the paper's rule drops.",
    )
    text = d.selectbox(
        "Text compared",
        ["instruction", "response", "all"],
        key="near_text",
        index=["instruction", "response", "all"].index(used.get("text", default.text)),
    )
    return {
        "threshold": threshold,
        "floor": min(default.floor, threshold),
        "ask_high": high,
        "budget": int(budget),
        "text": text,
    }


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
            _meaning(browser, threshold)
        with right:
            _histogram(browser, threshold)
    return float(threshold)


def _moved() -> None:
    ui.set_query(PAGING, t=f"{st.session_state['near_t']:.2f}")


def _meaning(browser: PairBrowser, threshold: float) -> None:
    found = browser.summary(threshold)
    rows = [
        f"**{found.pairs:,}** pairs in **{found.clusters:,}** clusters of {found.rows_in_clusters:,} rows; "
        f"the largest holds {found.largest_cluster:,}."
    ]
    if found.dropped_by_paper_rule is not None:
        rows.append(
            f"Dropping by this threshold alone would take out **{found.dropped_by_paper_rule:,}** rows."
        )
    rows.append(f"The last run decided from **{browser.threshold:.2f}** on.")
    st.markdown("  \n".join(rows))


def _histogram(browser: PairBrowser, threshold: float) -> None:
    data = pd.DataFrame(browser.histogram(), columns=["from", "to", "pairs"])
    bars = (
        alt.Chart(data)
        .mark_bar()
        .encode(
            x=alt.X("from:Q", bin="binned", title="cosine", scale=alt.Scale(domain=[browser.floor, 1.0])),
            x2="to:Q",
            y=alt.Y("pairs:Q", title="pairs"),
            opacity=alt.condition(alt.datum["from"] >= threshold - 1e-9, alt.value(1.0), alt.value(0.35)),
            tooltip=["from", "to", alt.Tooltip("pairs:Q", format=",")],
        )
    )
    rule = alt.Chart(pd.DataFrame({"at": [threshold]})).mark_rule(strokeWidth=2, color=RULE).encode(x="at:Q")
    st.altair_chart((bars + rule).properties(height=170))


def _offset() -> int:
    asked = st.query_params.get("at", "0")
    return int(asked) if asked.isdecimal() and len(asked) < 10 else 0


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


def _pairs(browser: PairBrowser, threshold: float) -> None:
    left, right = st.columns(2)
    with left:
        order = ui.choose(
            "Order",
            "order",
            ["least", "most"],
            {"least": "nearest the threshold first", "most": "most alike first"}.get,
            default="least",
            clear=PAGING,
        )
    with right:
        decision = ui.choose("Decision", "decision", list(DECISIONS), DECISIONS.get, clear=PAGING) or None
    total = browser.count(threshold, 1.0, decision)
    if not total:
        st.info(
            "No pair is like that. Move the threshold down, or choose other decisions.",
            icon=":material/search_off:",
        )
        return
    lines = browser.page(threshold, 1.0, order, _offset(), SIZE, decision)
    if not lines:
        ui.set_query(PAGING)
        st.rerun()
    chosen = ui.open_row(len(lines))
    ui.keep_open_row(
        st.dataframe(
            ui.frame(
                {
                    "Cosine": [p.cosine for p in lines],
                    "Decision": [_words(p.decision) for p in lines],
                    "Left": [_question(p.left) for p in lines],
                    "Right": [_question(p.right) for p in lines],
                }
            ),
            hide_index=True,
            on_select="rerun",
            selection_mode="single-cell",
            key=f"near_pairs_{_offset()}",
            height=250,
            column_config={
                "Cosine": st.column_config.NumberColumn(format="%.4f", width=70),
                "Decision": st.column_config.TextColumn(width=140),
            },
        )
    )
    _turn(total)
    _show_pair(lines[chosen])


def _words(decision: str) -> str:
    return DECISIONS.get(decision) or OTHER_DECISIONS.get(decision, decision)


def _question(row: Any) -> str:
    return f"{row.instruction}  {row.input}" if row.input else row.instruction


def _show_pair(pair: Any) -> None:
    responses = f" · responses {pair.response_cosine:.3f}" if pair.response_cosine is not None else ""
    decision = _words(pair.decision)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**Cosine {pair.cosine:.4f}**{responses} · {ui.plain(decision)}",
            width="content",
        )
        st.space("stretch")
        if pair.item:
            ui.question_link(pair.item)
        ui.link("row", "Left row", icon=":material/article:", id=pair.left.id)
        ui.link("row", "Right row", icon=":material/article:", id=pair.right.id)
    st.caption("Marked: words that only one of the two has.")
    ui.compare_rows(pair.left, pair.right, ("Left", "Right"), f"{pair.left.id}-{pair.right.id}")


def _clusters(browser: PairBrowser, threshold: float) -> None:
    total = browser.summary(threshold).clusters
    if not total:
        st.info("No two rows are that alike. Move the threshold down.", icon=":material/search_off:")
        return
    clusters = browser.clusters(threshold, _offset(), SIZE)
    if not clusters:
        ui.set_query(PAGING)
        st.rerun()
    chosen = ui.open_row(len(clusters))
    ui.keep_open_row(
        st.dataframe(
            ui.frame(
                {
                    "Rows": [c.rows for c in clusters],
                    "Kept": [c.states["kept"] for c in clusters],
                    "Pending": [c.states["pending"] for c in clusters],
                    "Dropped": [c.states["dropped"] for c in clusters],
                    "One of them": [c.example for c in clusters],
                }
            ),
            hide_index=True,
            on_select="rerun",
            selection_mode="single-cell",
            key=f"near_clusters_{_offset()}",
            height=250,
            column_config={
                name: st.column_config.NumberColumn(format="localized", width=70)
                for name in ("Rows", "Kept", "Pending", "Dropped")
            },
        )
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
    ui.compare_rows(
        keeper, other.sample, ("Kept", other.state.capitalize()), f"{keeper.id}-{other.sample.id}"
    )


def _read() -> None:
    browser = ui.pair_browser()
    if browser is None:
        return
    threshold = _threshold(browser)
    view = ui.switch("View", "view", ["Pairs", "Clusters"], PAGING)
    (_pairs if view == "Pairs" else _clusters)(browser, threshold)


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
        if not live:
            with st.expander("Run again with other settings", icon=":material/tune:"):
                _form(stage)
        with st.expander("Why rows were dropped", icon=":material/filter_list:"):
            ui.show_reasons(stage)
        cut = stage["report"].get("cut_short")
        if cut:
            st.caption(
                f"{ui.count_of(cut, 'row was', 'rows were')} compared on the first 256 word pieces only."
            )
        _read()
    elif not live:
        _form(stage)
