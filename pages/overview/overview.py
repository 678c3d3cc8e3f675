"""Overview: where every row is, what runs, and the one thing to do next."""

import altair as alt
import pandas as pd
import streamlit as st

import ui
from curation import example
from curation.next_step import next_step
from curation.store import versions

SIZES = {"Quick": example.QUICK, "Full": example.FULL}
COLORS = alt.Scale(domain=["kept", "pending", "dropped"], range=["#2f8f77", "#e0a030", "#c2554d"])


def _first_use() -> None:
    """Offer the ways to begin."""
    left, right, seeds = st.columns(3, gap="medium")
    with left, st.container(border=True, height="stretch"):
        st.subheader("Try it on the code on this machine", anchor=False)
        st.markdown(
            "Takes documented functions of the Python packages installed here through every stage, to "
            "a frozen set. No key, no network. These rows are for trying Winnow: the Magicoder paper found "
            "**no gain** from training on such pairs."
        )
        size = st.segmented_control(
            "Size",
            list(SIZES),
            default="Quick",
            required=True,
            key="overview_size",
            format_func=lambda name: f"{name}: {SIZES[name]:,} rows",
        )
        st.caption(
            "Measured on two cores: Quick took 6 to 9 minutes, Full about 50. "
            "It costs nothing but this machine's time."
        )
        st.button(
            "Make the example set",
            type="primary",
            icon=":material/play_arrow:",
            key="overview_example",
            on_click=ui.start,
            args=("example", {"rows": SIZES[size]}),
        )
    with right, st.container(border=True, height="stretch"):
        st.subheader("Import my data", anchor=False)
        st.markdown(
            "Instruction data you have: Alpaca, messages, ShareGPT, prompt and completion, problem and "
            "solution, or self-instruct rows, as JSON, JSONL or Parquet, also `.gz`; or a set of the Hugging "
            "Face hub."
        )
        st.caption("You see three rows as they will be read before anything is kept.")
        ui.link("import", "Import my data", icon=":material/upload_file:")
    with seeds, st.container(border=True, height="stretch"):
        st.subheader("Harvest seeds from code", anchor=False)
        st.markdown(
            "Cut snippets out of a folder, an archive, a git repository, a data set or the installed "
            "packages: what a teacher model is inspired by. Each keeps its file, lines, commit and licence."
        )
        st.caption("You see real cuts change while you move the bounds, before anything is kept.")
        if number := ui.count_seeds():
            ui.link("seeds", f"Look at {ui.count_of(number, 'seed')}", icon=":material/grass:")
        ui.link("harvest", "Harvest seeds", icon=":material/agriculture:")


def _next_step(counts: dict, questions: dict) -> None:
    step = next_step(
        counts.samples,
        counts.stages,
        questions["open"],
        ui.newest_version_is_current(),
        ui.newest_version_is_trained(),
    )
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="next-step"):
        with st.container():
            st.caption("NEXT STEP")
            st.markdown(f"#### {step.title}")
            st.markdown(step.why)
        if st.button(step.button, type="primary", icon=":material/arrow_forward:", key="next-step-go"):
            ui.go(step.page)


def _metrics(counts: dict, questions: dict) -> None:
    names = versions.names(ui.workspace().database)
    columns = st.columns(4)
    columns[0].metric("Samples", f"{counts.samples:,}", border=True)
    columns[1].metric("Rows not dropped", f"{counts.samples - ui.places()['dropped']:,}", border=True)
    columns[2].metric("Open questions", f"{questions['open'] + questions['disputed']:,}", border=True)
    columns[3].metric("Frozen versions", f"{len(names):,}", border=True)


def _bars(stages: list[dict], view: str) -> pd.DataFrame:
    """Give one line a bar: stage, what of it, rows."""
    lines = []
    for stage in stages:
        if not stage["ran"]:
            continue
        title = ui.STAGE_TITLES[stage["stage"]]
        if view == "By reason":
            for reason, rows in stage["reasons"].items():
                lines.append(
                    {
                        "stage": stage["stage"],
                        "Stage": title,
                        "What": reason.replace("_", " "),
                        "Rows": rows,
                        "reason": reason,
                        "place": "dropped",
                    }
                )
        else:
            for place in ("kept", "pending", "dropped"):
                if stage[place]:
                    lines.append(
                        {
                            "stage": stage["stage"],
                            "Stage": title,
                            "What": place,
                            "Rows": stage[place],
                            "reason": "",
                            "place": place,
                        }
                    )
    return pd.DataFrame(lines)


def _funnel_chart(data: pd.DataFrame, view: str) -> None:
    pick = alt.selection_point(name="bar", fields=["stage", "place", "reason"], on="click")
    color = (
        alt.Color("What:N", scale=COLORS, legend=alt.Legend(orient="top", title=None))
        if view == "By stage"
        else alt.Color("What:N", legend=alt.Legend(orient="top", title=None, labelLimit=320))
    )
    order = [ui.STAGE_TITLES[name] for name in ("clean", "near-duplicates", "decontaminate")]
    chart = (
        alt.Chart(data)
        .mark_bar(cursor="pointer", cornerRadius=2)
        .encode(
            # Not a sum: an aggregated bar keeps none of the fields that say which rows it stands for.
            x=alt.X("Rows:Q", title="rows", stack="zero"),
            y=alt.Y("Stage:N", sort=order, title=None, axis=alt.Axis(labelLimit=200)),
            color=color,
            tooltip=["Stage", "What", alt.Tooltip("Rows:Q", format=",")],
            opacity=alt.condition(pick, alt.value(1.0), alt.value(0.55)),
        )
        .add_params(pick)
        .properties(height=34 * max(1, data["Stage"].nunique()) + 142)
    )
    chosen = st.altair_chart(chart, key=f"overview_funnel_{view}", on_select="rerun", selection_mode="bar")
    bars = chosen["selection"]["bar"]
    if bars:
        _open_rows(bars[0])


def _open_rows(bar: dict) -> None:
    """Open the rows behind a bar."""
    if bar["place"] == "dropped":
        more = {"reason": bar["reason"]} if bar["reason"] else {}
        ui.go("samples", place="dropped", stage=bar["stage"], **more)
    if bar["place"] == "pending":
        ui.go("samples", place="pending", stage=bar["stage"])
    ui.go("samples", place="kept")


def _funnel(counts: dict) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Where the rows are", anchor=False)
        st.space("stretch")
        view = st.segmented_control(
            "View",
            ["By stage", "By reason"],
            default="By stage",
            required=True,
            key="view",
            bind="query-params",
            label_visibility="collapsed",
        )
    st.caption(
        "Click a bar to read its rows (kept: by every stage; pending at two stages: under one of them). "
        "Nothing is gone: a dropped row can be put back from its own page."
    )
    data = _bars(counts.stages, view)
    if data.empty:
        st.markdown(
            "No row was dropped so far."
            if view == "By reason"
            else "No stage ran yet: all rows are as they came."
        )
    else:
        _funnel_chart(data, view)
    _stage_lines(counts.stages)


def _stage_lines(stages: list[dict]) -> None:
    """List each stage with its counts as links, for the keyboard and for exact numbers."""
    for stage in stages:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            ui.link(stage["stage"], ui.STAGE_TITLES[stage["stage"]], icon=":material/chevron_right:")
            if not stage["ran"]:
                st.caption("has not run")
                continue
            st.caption(
                f"{stage['in']:,} in = {stage['kept']:,} kept + "
                f"{stage['dropped']:,} dropped + {stage['pending']:,} pending"
            )
            for place in ("dropped", "pending"):
                now = ui.places_by_stage(place).get(stage["stage"])
                if now:  # a row that waits at two stages is listed under the first of them
                    ui.link("samples", f"{now:,} {place}", place=place, stage=stage["stage"])
            if stage["stale"]:
                st.badge(f"stale: {stage['stale']:,} rows changed", color="orange", icon=":material/update:")


ui.heading(
    "Overview", "From raw instruction data to a frozen, named set. Every row that leaves keeps its reason."
)
counts = ui.funnel()
busy = ui.show_jobs_of(
    ("example", "import", "seeds", "clean", "near-duplicates", "decontaminate", "assemble", "export")
)
if not busy:
    ui.notice_new_jobs()
if counts.samples:
    if not busy:  # a running job is the next step itself, and may be at the very stage that would be named
        _next_step(counts, ui.review_counts())
    _metrics(counts, ui.review_counts())
    _funnel(counts)
elif not busy:
    _first_use()
