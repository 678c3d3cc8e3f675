"""Chat: a run's base model and the run itself answer the same question, beside each other."""

import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import streamlit as st

import ui
from curation.assemble import read_rows
from jobs.keys import environment
from training import chat, launch_card
from training import run as training_runs
from training.chat import BASE, BOUNDS, SIDES, TUNED, Sampling
from training.chat_process import ANSWERING, LOADING, Desk, Talk
from training.format import is_infilling
from training.run import LoraRun

POLL_SECONDS = 0.4
HISTORY = "chat_history"  # of this visit: what was asked, the newest first
KEPT = 30  # questions of a visit on the page
ROWS = 500  # held-out rows in the list
HEIGHTS = {2: 420, 3: 300}  # pixels of an answer by how many stand side by side; a longer one scrolls
ENDED = {
    chat.END: "ended by its end token",
    chat.LENGTH: "cut at its length",
    chat.STOPPED: "stopped",
}
FIELDS = {
    "max_new_tokens": ("Tokens at most", "Of each answer; fewer where the model's positions end."),
    "temperature": ("Temperature", "0 is greedy: always the likeliest token."),
    "top_p": ("Top p", "Choose among the likeliest tokens that have this probability together."),
    "random_seed": ("Random seed", "Of both answers alike. It counts when the temperature is above 0."),
}
STEPS = {"max_new_tokens": 32, "temperature": 0.1, "top_p": 0.05, "random_seed": 1}
Entry = Mapping[str, Any]


@st.cache_resource(show_spinner=False, max_entries=1, on_release=lambda desk: desk.close())
def _desk(folder: Path) -> Desk:
    """Give what all tabs ask; its process ends with this app, or after ten minutes without a question."""
    return Desk(folder, environment=environment())


def _history() -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = st.session_state.setdefault(HISTORY, [])
    return history


def _live() -> Entry | None:
    """Give the question of this tab that is being answered."""
    return next((one for one in _history() if not one["talk"].is_over), None)


# --- what to ask ---


def _choose_run() -> LoraRun | None:
    """Let a run be chosen among those with weights, or say that there is none."""
    found = training_runs.runs(ui.workspace())
    able = [run.name for run in found if run.weights is not None]
    if not able:
        if found:
            ui.empty("No run has weights to answer with yet.", "runs", "To the runs")
        else:
            ui.empty("Nothing was trained yet: there is no run to ask.", "train", "Choose what to train")
        return None
    asked = st.query_params.get("run", able[0])
    if asked not in able:
        there = next((run for run in found if run.name == asked), None)
        why = f"is {there.state} and has no weights yet" if there else "is not here"
        st.warning(ui.plain(f"The run {asked} {why}."), icon=":material/warning:")
    name = ui.choose("Run", "run", able, default=able[0], clear=("row",))
    return training_runs.find(ui.workspace(), name)


@st.cache_data(max_entries=2, show_spinner=False)
def _rows(path: str, version: str, sha256: str) -> dict[str, dict[str, str]]:
    """Give held-out rows of a frozen version by id, those that are questions; it never changes."""
    manifest, file = read_rows(ui.workspace(), version)
    if manifest["report"]["sha256"] != sha256:
        raise ui.WrongInput(f"The version {version} is not the one this run was trained on")
    rows: dict[str, dict[str, str]] = {}
    with file.open(encoding="utf-8", newline="\n") as lines:
        for row in map(json.loads, lines):
            if len(rows) < ROWS and row["split"] == "validation" and not is_infilling(row):
                texts = {name: str(row.get(name) or "") for name in ("instruction", "input", "response")}
                rows[str(row["id"])] = texts
    return rows


def _choose_row(run: LoraRun) -> dict[str, str] | None:
    """Let a held-out row be chosen: its instruction is filled in, its response shown beside the answers."""
    try:
        rows = _rows(str(ui.folder()), str(run.frozen["version"]), str(run.frozen["sha256"]))
    except ui.WrongInput as error:
        st.caption(ui.plain(f"Held-out rows cannot be read: {error}"))
        return None

    def shown(id: str) -> str:
        if not id:
            return f"choose one of {ui.count_of(len(rows), 'row')}" if rows else "none in this version"
        return " ".join(rows[id]["instruction"].split())[:140]

    chosen = ui.choose(
        "Held-out row",
        "row",
        ["", *rows],
        shown=shown,
        help="A row that was not trained on. Its instruction is filled in, its response stands beside the "
        "answers.",
    )
    if chosen != st.session_state.get("chat_filled", ""):
        st.session_state["chat_filled"] = chosen
        if chosen:
            for name in ("instruction", "input"):
                st.session_state[f"chat_{name}"] = rows[chosen][name][: chat.LONGEST_QUESTION]
    return rows.get(chosen)


def _ask(run: str, row: Mapping[str, str] | None) -> None:
    """Put the question that stands in the form (a callback)."""
    if _live() is not None:  # pressed twice
        return
    state = st.session_state
    instruction, input = str(state["chat_instruction"] or ""), str(state["chat_input"] or "")
    sampling = Sampling(**{name: state[f"chat_{name}"] for name in FIELDS})
    talk = _desk(ui.folder()).ask(run, instruction, input, sampling)
    is_row = row is not None and (row["instruction"], row["input"]) == (instruction, input)
    entry = {
        "id": next(state.setdefault("chat_ids", count(1))),
        "run": run,
        "instruction": instruction,
        "input": input,
        "sampling": sampling,
        "reference": row["response"] if is_row and row is not None else None,
        "talk": talk,
    }
    state[HISTORY] = [entry, *_history()][:KEPT]


def _form(run: LoraRun, row: Mapping[str, str] | None) -> None:
    """Two boxes and a button, low enough that answers begin above the fold."""
    with st.form("chat_form"):
        left, right = st.columns([2, 1])
        more: dict[str, Any] = {"height": 110, "max_chars": chat.LONGEST_QUESTION}
        left.text_area("Instruction", key="chat_instruction", **more)
        right.text_area("Input, if any", key="chat_input", **more)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.form_submit_button(
                "Ask",
                type="primary",
                key="chat_ask",
                icon=":material/send:",
                on_click=ui.act,
                args=(_ask, run.name, row),
                disabled=_live() is not None,
            )
            with st.popover("Advanced", icon=":material/tune:", width="content", key="chat_advanced"):
                _fields()
            template = ui.plain(run.settings.template)
            st.caption(f"Ctrl+Enter asks, too. The run's own template ({template}) is put around it.")


def _fields() -> None:
    for name, (label, about) in FIELDS.items():
        own = getattr(Sampling, name)
        least, most = (type(own)(bound) for bound in BOUNDS[name])
        st.number_input(
            label, least, most, own, STEPS[name], key=f"chat_{name}", help=about,
            format=None if isinstance(own, int) else "%g",
        )  # fmt: skip


# --- what came of it ---


def _title(side: str, run: str) -> str:
    return "base" if side == BASE else f"tuned: {ui.plain(run)}"


def _facts(told: Mapping[str, Any]) -> str:
    rate = told["tokens_per_second"]
    facts = [ui.count_of(told["tokens"], "token"), f"{rate:,.0f} a second" if rate else ""]
    return " · ".join([*(one for one in facts if one), ENDED[told["ended"]]])


def _awaited(talk: Talk, side: str) -> str:
    """Say what an answer that has not begun waits for."""
    if talk.is_over:
        return "Not begun."
    if side == TUNED and BASE not in talk.answers:
        return "Answers after the base."
    if talk.state == LOADING:
        return "The model is being loaded; the first question takes longest."
    if talk.state != ANSWERING:
        return "Waits for another question, perhaps of another tab."
    return "Reads the question."


def _side(talk: Talk, side: str, height: int) -> None:
    text, told = talk.texts[side], talk.answers.get(side)
    st.markdown(f"**{_title(side, talk.run)}**")
    if text:
        ui.show_text(text, height=height)
    elif told is None:
        st.caption(_awaited(talk, side))
    if told is None:
        return
    if not text.strip():
        st.caption("It answered nothing." if not text else "It answered white space only.")
    st.caption(_facts(told))


def _how(sampling: Sampling) -> str:
    if sampling.temperature < chat.COOLEST:
        return "greedy"
    top = f" · top p {sampling.top_p:g}" if sampling.top_p < 1 else ""
    return f"temperature {sampling.temperature:g}{top} · seed {sampling.random_seed}"


def _draw(entry: Entry) -> None:
    """Show a question and its answers, a held-out row's own response beside them."""
    talk: Talk = entry["talk"]
    with st.container(border=True, key=f"chat-{entry['id']}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Question {entry['id']} · {ui.plain(_how(entry['sampling']))}")
            if not talk.is_over:
                st.space("stretch")
                st.button(
                    "Stop",
                    key="chat_stop",
                    icon=":material/stop_circle:",
                    on_click=ui.act,
                    args=(_desk(ui.folder()).stop, talk),
                    help="Ends both answers; what came so far stays.",
                )
        ui.show_text(entry["instruction"], height=140)
        if entry["input"]:
            st.caption("Input")
            ui.show_text(entry["input"], height=140)
        reference = entry["reference"]
        columns = st.columns(2 if reference is None else 3)
        height = HEIGHTS[len(columns)]
        for column, side in zip(columns, SIDES, strict=False):
            with column:
                _side(talk, side, height)
        if reference is not None:
            with columns[2]:
                st.markdown("**reference**: the row's own response")
                ui.show_text(reference, height=height)
        if talk.error:
            st.error(ui.plain(talk.error), icon=":material/error:")


@st.fragment(run_every=POLL_SECONDS)
def _watch(entry: Entry) -> None:
    """Draw a question anew while it is being answered; the page at its end, so that Ask can be pressed."""
    with ui.readable_errors():
        entry["talk"].look()
        _draw(entry)
        if entry["talk"].is_over:
            st.rerun()


def _page(run: LoraRun, row: Mapping[str, str] | None) -> None:
    if chat.is_practice(ui.workspace(), run):
        st.caption(f":material/info: {launch_card.PRACTICE_NOTE}")
    _form(run, row)
    for entry in _history():
        (_draw if entry["talk"].is_over else _watch)(entry)


ui.heading(
    "Chat",
    "The base model and what a run made of it answer the same question. "
    "Each question stands alone: the recipes train single turns.",
)
left, right = st.columns([1, 2])
with left:
    chosen = _choose_run()
if chosen is not None:
    with right:
        picked = _choose_row(chosen)
    _page(chosen, picked)
