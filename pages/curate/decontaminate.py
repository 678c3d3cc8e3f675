"""Contamination: rows that give away benchmark tasks, with the evidence side by side."""

import os
from typing import Any

import streamlit as st

import ui
from curation.benchmarks import KNOWN, PYSTDLIB
from curation.decontaminate import DETECTORS, Settings
from curation.import_samples import keep_upload
from curation.match_browser import MatchLine, match_counts, match_page
from curation.store import benchmarks as pinned

SIZE = 20
PAGING = ("after", "before", "open")
DECISIONS = {
    "": "all",
    "ask": "asked about",
    "drop": "dropped",
    "over budget": "over the budget: kept, listed",
    "keep": "kept",
}


# --- running it ---


def _known() -> dict[str, str]:
    """Name the benchmarks that can be chosen, with where each comes from."""
    here = {b.name: f"{b.items:,} tasks, loaded before" for b in pinned.all_pinned(ui.workspace().database)}
    mine = {
        name: "a file you gave"
        for name in st.session_state.get("contamination_files", {})
        if name not in here
    }
    offered = {PYSTDLIB: "functions of the standard library, on this machine"}
    hub = dict.fromkeys(KNOWN, "from the Hugging Face hub (network)")
    return {
        **mine,
        **here,
        **{k: v for k, v in {**offered, **hub}.items() if k not in here and k not in mine},
    }


def _form(stage: dict[str, Any]) -> None:
    known = _known()
    used = list(stage["settings"].get("benchmarks", {})) if stage["ran"] else []
    mine = list(st.session_state.get("contamination_files", {}))
    chosen = st.multiselect(
        "Benchmarks that the data must not contain",
        list(known),
        key=f"contamination_names_{len(mine)}",
        default=[n for n in dict.fromkeys([*used, *mine]) if n in known],
        format_func=lambda name: ui.revealed(f"{name} ({known[name]})"),
    )
    with st.expander("Add a benchmark file", expanded=not used and not mine, icon=":material/add:"):
        _add_file()
    default = Settings(("x",))
    a, b, c = st.columns(3)
    low = a.number_input(
        "Ask from this score on",
        0.0,
        1.0,
        float(stage["settings"].get("low", default.low) if stage["ran"] else default.low),
        0.01,
        key="contamination_low",
        help="Joint score: 1 for a long shared string, else the cosine. Platypus: 0.8.",
    )
    budget = b.number_input(
        "Rows to ask about",
        0,
        100_000,
        default.budget,
        50,
        key="contamination_budget",
        help="The most uncertain ones; rows beyond it are kept and listed.",
    )
    detectors = c.multiselect(
        "Detectors", list(DETECTORS), default=list(DETECTORS), key="contamination_detectors"
    )
    files = st.session_state.get("contamination_files", {})
    settings = {
        "benchmarks": [f"{name}={files[name]}" if name in files else name for name in chosen],
        "detectors": detectors,
        "low": low,
        "budget": int(budget),
    }
    st.caption(
        "Questions, responses and tasks are embedded once (15 to 40 new texts a second "
        "on two cores); the rest takes seconds."
    )
    st.button(
        "Run again" if stage["ran"] else "Check for benchmark tasks",
        type="primary",
        key="contamination_run",
        icon=":material/play_arrow:",
        disabled=not chosen or not detectors,
        on_click=ui.start,
        args=("decontaminate", settings),
        help=None if chosen else "Choose at least one benchmark.",
    )


def _add_file() -> None:
    st.caption(
        "The published files of HumanEval and MBPP are recognised by their hash. A file is pinned: "
        "another one under the same name is refused later."
    )
    a, b = st.columns([1, 2])
    name = a.text_input("Name", key="contamination_name", placeholder="humaneval", max_chars=60).strip()
    path = b.text_input(
        "Path on this machine", key="contamination_path", placeholder="/data/humaneval.jsonl.gz"
    ).strip()
    given = st.file_uploader(
        "or upload it", type=["json", "jsonl", "parquet", "gz"], key="contamination_upload"
    )
    st.button(
        "Add",
        key="contamination_add",
        disabled=not name or not (path or given),
        on_click=_keep_file,
        args=(name, path, given),
    )


def _keep_file(name: str, path: str, given: Any) -> None:
    ui.act(_keep, name, path, given)


def _keep(name: str, path: str, given: Any) -> None:
    """Remember a benchmark file for the form. Raises WrongInput for a name or path that cannot be."""
    if "=" in name:
        raise ui.WrongInput(f"The name {name!r} must not hold '='; choose another")
    if given is not None:
        path = str(keep_upload(ui.workspace(), given.name, given.getvalue()))
    if not os.path.isfile(os.path.expanduser(path)):  # False, too, where Path would raise
        raise ui.WrongInput(
            f"There is no file {path[:200]!r} on this machine; give its whole path, or upload it"
        )
    st.session_state["contamination_files"] = {**st.session_state.get("contamination_files", {}), name: path}


# --- reading it ---


def _read(stage: dict[str, Any]) -> None:
    counts = match_counts(ui.workspace())
    if not counts:
        st.success("No row resembles any task of these benchmarks.", icon=":material/verified:")
        return
    left, right = st.columns(2)
    names = sorted({name for name, _ in counts})
    with left:
        decision = ui.choose("Decision", "decision", list(DECISIONS), DECISIONS.get, clear=PAGING)
    with right:
        benchmark = ui.choose("Benchmark", "benchmark", ["", *names], lambda n: n or "all", clear=PAGING)
    at = st.query_params
    page = match_page(
        ui.workspace(), benchmark or None, decision or None, at.get("after"), SIZE, at.get("before")
    )
    if not page.lines:
        st.info("No match is like that. Choose other decisions.", icon=":material/search_off:")
        return
    chosen = ui.open_row(len(page.lines))
    _table(page.lines)
    with st.container(horizontal=True):
        st.space("stretch")
        st.button(
            "Previous",
            key="matches_previous",
            icon=":material/chevron_left:",
            shortcut="Left",
            disabled=page.before is None,
            on_click=ui.set_query,
            args=(PAGING,),
            kwargs={"before": page.before},
        )
        st.button(
            "Next",
            key="matches_next",
            icon=":material/chevron_right:",
            icon_position="right",
            shortcut="Right",
            disabled=page.after is None,
            on_click=ui.set_query,
            args=(PAGING,),
            kwargs={"after": page.after},
        )
    _evidence(page.lines[chosen])


def _table(lines: list[MatchLine]) -> None:
    event = st.dataframe(
        ui.frame(
            {
                "Score": [m.score for m in lines],
                "Decision": [DECISIONS.get(m.decision, m.decision) for m in lines],
                "Benchmark": [m.task.benchmark for m in lines],
                "Task": [m.task.item for m in lines],
                "Met in": [m.side for m in lines],
                "Row": [m.sample.instruction for m in lines],
                "Problem of the task": [m.task.problem for m in lines],
            }
        ),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-cell",
        height=260,
        key=f"matches_{st.query_params.get('after', '')}_{st.query_params.get('before', '')}",
        column_config={
            "Score": st.column_config.NumberColumn(format="%.3f", width=60),
            "Decision": st.column_config.TextColumn(width=120),
        },
    )
    ui.keep_open_row(event)


def _evidence(match: MatchLine) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        decision = DECISIONS.get(match.decision, match.decision)
        kind = "a string they share" if match.hits else f"cosine with the {match.side}"
        st.markdown(
            f"**Score {match.score:.3f}** · {kind} · {ui.plain(decision)}",
            width="content",
        )
        st.space("stretch")
        if match.decision == "ask":
            ui.link("review", "Open the review queue", icon=":material/rate_review:", kind="decontaminate")
        ui.link("row", "The row", icon=":material/article:", id=match.sample.id)
    st.caption(
        "Marked: the text they share." if match.hits else "Marked: words that only one of the two has."
    )
    ui.compare_with_task(match.sample, match.task, match.hits, f"{match.sample.id}-{match.task.item}")


ui.heading(
    "Contamination", "Rows that give away tasks of a benchmark would inflate every score measured later."
)
counts = ui.funnel()
stage = counts.stages[2]
if not counts.samples:
    ui.empty("There are no samples to check yet.", "import", "Import my data")
else:
    ui.stale_note(stage)
    live = ui.show_jobs_of(("decontaminate",))
    if stage["ran"]:
        ui.show_counts(stage)
        if not live:
            with st.expander("Run again, or against other benchmarks", icon=":material/tune:"):
                _form(stage)
        with st.expander("Why rows were dropped", icon=":material/filter_list:"):
            ui.show_reasons(stage)
        _read(stage)
    elif not live:
        _form(stage)
