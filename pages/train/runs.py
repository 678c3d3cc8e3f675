"""Runs: what was trained on what, and what came of it; the newest first."""

from datetime import datetime
from typing import Any

import streamlit as st

import ui
from training import run as training_runs
from training.run import LoraRun
from training.run_report import GOES_ON, Summary, summary

HELD_OUT = "Of the held-out rows: of the base model, and at the last evaluation."
SHOWN = 200  # runs on the page; older ones are found by their name in the address


def _rows() -> list[tuple[Summary, str]]:
    """Give each run in a line, with its state."""
    of_runs = ui.jobs_of_runs()
    found: list[LoraRun] = training_runs.runs(ui.workspace())[:SHOWN]
    return [(summary(run, ui.measured(run)), ui.state_of_run(run, of_runs.get(run.name))) for run in found]


def _place(name: str, state: str, queue: list[str]) -> str:
    """Say the state; of a queued run also its place."""
    if state != "queued" or name not in queue:
        return state
    return f"queued, {queue.index(name)} ahead" if queue.index(name) else "queued, next"


def _when(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _table(rows: list[tuple[Summary, str]]) -> None:
    queue = [str(job.settings.get("run", job.step)) for job in ui.training_queue()]
    columns: dict[str, list[Any]] = {
        "Run": [one.name for one, _ in rows],
        "State": [_place(one.name, state, queue) for one, state in rows],
        "Loss before": [one.loss_before for one, _ in rows],
        "after": [one.loss for one, _ in rows],
        "Training loss": [one.losses for one, _ in rows],
        "Steps": [f"{one.step:,} of {one.steps:,}" if one.steps else "-" for one, _ in rows],
        "Version": [one.version for one, _ in rows],
        "Recipe": [f"{one.recipe} · {one.method}" for one, _ in rows],
        "Base": [one.base for one, _ in rows],
        "Started": [_when(one.created_at) for one, _ in rows],
    }
    chosen = st.dataframe(
        ui.frame(columns),
        hide_index=True,
        key="runs_table",
        placeholder="-",
        on_select="rerun",
        selection_mode="single-cell",
        column_config={
            "Run": st.column_config.TextColumn(width=165),
            "State": st.column_config.TextColumn(width=115),
            "Version": st.column_config.TextColumn(width=80),
            "Recipe": st.column_config.TextColumn(width=115),
            "Base": st.column_config.TextColumn(width=75),
            "Steps": st.column_config.TextColumn(width=90),
            "Loss before": st.column_config.NumberColumn(format="%.3f", width=85, help=HELD_OUT),
            "after": st.column_config.NumberColumn(format="%.3f", width=60, help=HELD_OUT),
            "Training loss": st.column_config.LineChartColumn(width=110, color="auto-inverse"),
            "Started": st.column_config.DatetimeColumn(format="distance", width=115),
        },
    )
    clicked = ui.clicked_row(chosen)
    if clicked is not None:
        ui.go("run", run=rows[clicked][0].name)


@st.fragment(run_every=3.0)
def _watch(known: list[tuple[str, str]]) -> None:
    """Draw the page again when a run begins, moves to another state or ends."""
    with ui.readable_errors():
        now = [(one.name, f"{state} {one.step}") for one, state in _rows()]
        if now != known:
            st.rerun()


ui.heading("Runs", "What was trained on what, and what came of it. Click a run for its curves.")
for line in training_runs.damaged(ui.workspace()):
    st.warning(ui.plain(line), icon=":material/broken_image:")
rows = _rows()
if rows:
    live = sum(state in GOES_ON for _, state in rows)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(ui.count_of(len(rows), "run") + (f", {live:,} of them queued or running" if live else ""))
        st.space("stretch")
        ui.link("train", "Train another", icon=":material/model_training:")
    _table(rows)
    _watch([(one.name, f"{state} {one.step}") for one, state in rows])
else:
    ui.empty("Nothing was trained yet.", "train", "Choose what to train")
