"""Run: one training run, from its own files: how far it is, its curves, its rows, its settings."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

import jobs
import ui
from curation.hidden_characters import revealed
from curation.store import samples
from training import run as training_runs
from training import run_report
from training.nearest_rows import NearRow, nearest_rows
from training.run import LoraRun
from training.run_report import GOES_ON, WorstRow, newest, oldest
from training.settings_file import as_yaml

POLL_SECONDS = 2.0
VIEWS = ("Held-out rows", "Data", "Settings", "Compare", "Log", "Result")
RESUMABLE = ("waiting", "stopped", "failed", "cancelled")
Measured = Sequence[Mapping[str, Any]]
AXES = {"Step": "step", "Epoch": "epoch", "Tokens": "tokens"}
GONE = "no longer in this workspace"
ALIKE = 0.7  # cosine from which what differs is less than what does not: there it is marked
FEW = 12  # points of a curve that are marked one by one: a line through a single point is nothing
TRAIN, HELD_OUT = "training", "held out"
LOSS_COLORS = alt.Scale(domain=[TRAIN, HELD_OUT], range=["#5b93cf", "#d9822b"])


def _find() -> LoraRun | None:
    """Give the run that the address names, or say that there is none."""
    name = st.query_params.get("run", "")
    if not name:
        ui.empty("Choose a run from the list.", "runs", "To the runs")
        return None
    try:
        return training_runs.find(ui.workspace(), name)
    except ui.WrongInput as error:
        ui.say_error(error)
        ui.link("runs", "To the runs", icon=":material/arrow_back:")
        return None


def _job_of(run: LoraRun) -> "jobs.Job | None":
    return ui.jobs_of_runs().get(run.name)


# --- what can be done about it ---


def _stop(name: str, discard: bool) -> None:
    """Ask the run to stop; one that only waits in the queue is taken out of it."""
    run = training_runs.find(ui.workspace(), name)
    job = _job_of(run)
    waits = job is not None and job.state == "queued"
    if discard or not waits:
        training_runs.stop(ui.workspace(), name, discard)
    if waits and job is not None:
        jobs.cancel(ui.folder(), job.id)
    st.session_state.pop(f"discard-{name}", None)


def _resume(name: str) -> None:
    """Queue it again; while its last process is still ending, nothing is touched."""
    mine = [job for job in jobs.jobs(ui.folder(), limit=100) if job.settings.get("run") == name]
    if any(job.step == "train" and job.state in ("running", "cancelling") for job in mine):
        raise ui.WrongInput(f"{name} is still ending; press Resume again in a moment")
    training_runs.reopen(ui.workspace(), name)
    jobs.start(ui.folder(), "train", {"run": name})


def _ask(name: str, wanted: bool) -> None:
    st.session_state[f"discard-{name}"] = wanted


def _buttons(run: LoraRun, state: str) -> None:
    name = run.name
    if state in ("queued", "starting", "running", "interrupted"):
        st.button(
            "Take out of the queue" if state == "queued" else "Stop and save",
            key="run_stop",
            icon=":material/stop_circle:",
            on_click=ui.act,
            args=(_stop, name, False),
            help="Its files stay; Resume puts it back."
            if state == "queued"
            else "Ends after the current step. Its weights so far are kept, and Resume goes on from there.",
        )
    if state in RESUMABLE:
        st.button(
            "Resume",
            type="primary",
            key="run_resume",
            icon=":material/play_arrow:",
            on_click=ui.act,
            args=(_resume, name),
            help="Goes on from the newest complete checkpoint.",
        )
    if state in ("finished", "discarded"):
        return
    if st.session_state.get(f"discard-{name}"):
        st.button(
            "Yes, throw its weights away",
            type="primary",
            key="run_discard_sure",
            icon=":material/delete_forever:",
            on_click=ui.act,
            args=(_stop, name, True),
        )
        st.button("Keep it", key="run_discard_not", on_click=_ask, args=(name, False))
    elif run.result is None:
        st.button(
            "Stop and discard" if state in GOES_ON else "Discard",
            key="run_discard",
            icon=":material/delete:",
            on_click=_ask,
            args=(name, True),
            help="Ends it and throws its weights away; curves and settings stay. Asks once more.",
        )


# --- how far it is ---


def _head(run: LoraRun, state: str) -> None:
    queue = [str(job.settings.get("run", "")) for job in ui.training_queue()]
    ahead = queue.index(run.name) if run.name in queue else 0
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"### {ui.plain(run.name)}", width="content")
        ui.run_badge(state, ahead)
        st.space("stretch")
        _buttons(run, state)
    frozen = run.frozen
    with st.container(horizontal=True, vertical_alignment="center"):
        ui.link(
            "datasets",
            f"{ui.plain(frozen['version'])}",
            icon=":material/inventory_2:",
            version=str(frozen["version"]),
            help="The frozen version it trains on.",
        )
        st.caption(
            ui.plain(
                f"recipe {frozen['recipe']} · {frozen['settings']['method']} · base "
                f"{frozen['base_model']['name']} · rows sha256 {str(frozen['sha256'])[:12]}"
            )
        )
        if run.weights is not None:
            st.space("stretch")
            ui.link("chat", "Chat with it", icon=":material/forum:", run=run.name)


def _why(run: LoraRun, state: str, job: "jobs.Job | None") -> None:
    """Say why a run is not going on."""
    failure = run.failure
    if failure is not None and state == "failed":
        st.error(ui.plain(failure["reason"]), icon=":material/error:")
    elif state == "failed" and job is not None:
        st.error(ui.plain(job.message or "It failed; the log below says more."), icon=":material/error:")
    elif state == "waiting":
        st.info("Nobody trains it now. Resume queues it.", icon=":material/pause_circle:")
    elif state == "interrupted":
        st.info(
            "Its process ended before the run did. A new one takes over by itself and goes on from the "
            "newest complete checkpoint.",
            icon=":material/restart_alt:",
        )


def _progress(run: LoraRun, state: str, job: "jobs.Job | None") -> None:
    if state not in ("starting", "running", "stopping") or job is None or job.state == "queued":
        return
    what = job.what or "starting"
    if state == "stopping":
        what = "stopping after the current step"
    share = min(1.0, (job.done or 0) / job.total) if job.total else 0.0
    st.progress(share, text=ui.plain(what))
    facts = [f"running for {ui.duration(ui.since(job.started_at))}"]
    if job.seconds_left is not None and what == "training":
        facts.append(f"about {ui.duration(job.seconds_left)} left")
    st.caption(" · ".join(facts))


def _facts(run: LoraRun, measured: Measured) -> None:
    """Show the numbers of now: six of them, three in a row so that they fit a narrow window."""
    steps = run.data.get("steps")
    step = max((one["step"] for one in measured), default=0)
    first, now = oldest(measured, "eval_loss"), newest(measured, "eval_loss")
    bits, bits_now = oldest(measured, "eval_bits_per_byte"), newest(measured, "eval_bits_per_byte")
    speed, memory = newest(measured, "tokens_per_second"), newest(measured, "gpu_memory")
    own = newest(measured, "memory")
    told = [
        ("Step", f"{step:,} of {steps:,}" if steps else f"{step:,}", _passes(measured)),
        ("Training loss", _short(newest(measured, "loss")), "of the last step"),
        ("Held-out loss", *_change(measured, first, now, "base model -> last evaluation")),
        ("Held-out bits a byte", *_change(measured, bits, bits_now, "comparable between tokenizers")),
        ("Tokens a second", _short(speed, 0), f"{newest(measured, 'tokens') or 0:,} tokens so far"),
        ("Memory", _gib(own), _of_gpu(measured) if memory else "of its process; no GPU used"),
    ]
    for row in (told[:3], told[3:]):
        for column, fact in zip(st.columns(3), row, strict=True):
            with column:
                ui.show_fact(*fact)


def _of_gpu(measured: Measured) -> str:
    """Say what the GPU does: percent and degrees are known where NVIDIA's library is."""
    use, warm = newest(measured, "gpu_use"), newest(measured, "gpu_temperature")
    told = [f"GPU at most {_gib(newest(measured, 'gpu_memory'))}"]
    told += [] if use is None else [f"{use} % busy"]
    return " · ".join([*told, f"{warm} °C"] if warm is not None else told)


def _passes(measured: Measured) -> str:
    epoch = newest(measured, "epoch")
    return f"{epoch:.2f} passes over the rows" if epoch else "not begun"


def _short(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _change(measured: Measured, before: float | None, now: float | None, more: str) -> tuple[str, str]:
    """Give a value and what it is; after one evaluation there is no change to tell of yet."""
    if before is None:
        return "-", more
    if sum("eval_loss" in one for one in measured) < 2:
        return f"{before:.3f}", "of the base model; nothing was measured since"
    return f"{before:.3f} → {now:.3f}", more


def _gib(size: float | None) -> str:
    return "-" if size is None else f"{size / 2**30:,.2f} GiB"


# --- curves ---


def _charts(run: LoraRun, measured: Measured, axis: str) -> None:
    if not measured:
        st.caption("Curves are drawn from the first step on.")
        return
    _loss_chart([(run.name, measured)], axis)
    wanted = (
        ("learning_rate", "Learning rate", ".1e"),
        ("grad_norm", "Gradient norm", ".2~g"),
        ("tokens_per_second", "Tokens a second", "~s"),
        ("memory", "Memory of its process, GiB", ".2f"),
        ("gpu_memory", "GPU memory at most, GiB", ".2f"),
        ("gpu_use", "GPU busy, percent", ".0f"),
        ("gpu_temperature", "GPU temperature, °C", ".0f"),
    )
    shown = [one for one in wanted if newest(measured, one[0]) is not None]
    for first in range(0, len(shown), 2):
        for column, (name, title, form) in zip(st.columns(2), shown[first : first + 2], strict=False):
            with column:
                _small_chart(measured, name, title, form, axis)


def _x(axis: str) -> alt.X:
    title = {"step": "step", "epoch": "passes over the rows", "tokens": "tokens"}[axis]
    form = {"step": ",.0f", "epoch": "~f", "tokens": "~s"}[axis]
    ticks = alt.Axis(format=form, tickCount=8, labelOverlap=True)
    if axis == "step":
        ticks.tickMinStep = 1
    return alt.X("x:Q", title=title, scale=alt.Scale(nice=False), axis=ticks)


def _loss_chart(runs: Sequence[tuple[str, Measured]], axis: str) -> None:
    """Draw training loss, raw and smoothed, and held-out loss with points; of several runs a colour each."""
    lines = [{**point, "run": name} for name, measured in runs for point in _points_of(measured, axis)]
    if not lines:
        st.caption("No loss was measured yet.")
        return
    one = len(runs) == 1
    color = (
        alt.Color("curve:N", scale=LOSS_COLORS, title=None, legend=alt.Legend(orient="top", symbolOpacity=1))
        if one
        else alt.Color("run:N", title=None, legend=alt.Legend(orient="top", labelLimit=400, symbolOpacity=1))
    )
    base = alt.Chart(pd.DataFrame(lines)).encode(
        x=_x(axis),
        y=alt.Y("y:Q", title="loss", scale=alt.Scale(zero=False)),
        color=color,
        detail="run:N",
        tooltip=[
            alt.Tooltip("run:N"),
            alt.Tooltip("curve:N", title="loss"),
            alt.Tooltip("step:Q", format=",.0f"),
            alt.Tooltip("y:Q", title="value", format=".4f"),
        ],
    )
    few = len(lines) < FEW * len(runs)
    raw = base.transform_filter(alt.datum.curve == TRAIN).mark_line(
        strokeWidth=1, opacity=0.35, point=alt.OverlayMarkDef(size=14) if few else False
    )
    training = base.transform_filter(alt.datum.curve == TRAIN).encode(y="smooth:Q").mark_line(strokeWidth=1.5)
    held_out = base.transform_filter(alt.datum.curve == HELD_OUT).mark_line(
        strokeWidth=2.5, point=alt.OverlayMarkDef(size=45, filled=True)
    )
    st.altair_chart(
        (raw + training + held_out).properties(height=300),
        key="run_loss" if one else "run_compare",
        alt="training and held-out loss",
    )


def _points_of(measured: Measured, axis: str) -> list[dict[str, Any]]:
    """Give the points of training and held-out loss; training loss also smoothed."""
    training = run_report.smoothed(run_report.curve(measured, "loss", axis))
    held_out = run_report.curve(measured, "eval_loss", axis)
    return [
        *({**point, "curve": TRAIN} for point in training),
        *({**point, "curve": HELD_OUT, "smooth": point["y"]} for point in held_out),
    ]


def _small_chart(measured: Measured, name: str, title: str, form: str, axis: str) -> None:
    points = run_report.curve(measured, name, axis)
    if not points:
        return
    scale = 2**30 if name in ("memory", "gpu_memory") else 1
    data = pd.DataFrame([{**point, "y": point["y"] / scale} for point in points])
    chart = (
        alt.Chart(data, title=alt.Title(title, anchor="start", fontSize=13))
        .mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=14) if len(points) < FEW else False)
        .encode(
            x=_x(axis),
            y=alt.Y("y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format=form, tickCount=4)),
            tooltip=[alt.Tooltip("step:Q", format=",.0f"), alt.Tooltip("y:Q", title=title, format=form)],
        )
        .properties(height=170)
    )
    st.altair_chart(chart, key=f"run_{name}", alt=title)


# --- the parts below the curves ---


@st.cache_data(max_entries=16, show_spinner="Looking for the nearest training rows")
def _nearest(path: str, run: str, step: int, version: str, ids: tuple[str, ...]) -> dict[str, list[NearRow]]:
    return nearest_rows(ui.workspace(), version, ids)


def _neighbours(run: LoraRun, step: int, rows: list[WorstRow]) -> dict[str, list[NearRow]]:
    """Give the nearest training rows, or say why there are none to see."""
    try:
        version = str(run.frozen["version"])
        return _nearest(str(ui.folder()), run.name, step, version, tuple(one.id for one in rows))
    except ui.WrongInput as error:
        st.caption(ui.plain(str(error)))
        return {}


def _held_out_rows(run: LoraRun) -> None:
    step, rows = run_report.worst_rows(run)
    if step is None or not rows:
        st.caption("No held-out row was measured yet.")
        return
    st.caption(
        f"The held-out rows on which the model is worst at step {step:,}: high where the answer is hard to "
        "foresee, where a row is broken, and where nothing like it was trained on. Click one to read it "
        "beside the training row nearest to it."
    )
    near = _neighbours(run, step, rows)
    texts = {one.id: samples.find(ui.workspace().database, one.id) for one in rows}
    opened = ui.open_row(len(rows))
    table = ui.frame(
        {
            "": ["▸" if n == opened else "" for n in range(len(rows))],
            "Held-out row": [texts[one.id].instruction if texts[one.id] else GONE for one in rows],
            "Loss a token": [one.loss for one in rows],
            "at first": [one.before for one in rows],
            "Nearest training row": [
                near[one.id][0].instruction if near.get(one.id) else None for one in rows
            ],
            "Cosine": [near[one.id][0].cosine if near.get(one.id) else None for one in rows],
        }
    )
    chosen = st.dataframe(
        table,
        hide_index=True,
        key="run_worst",
        placeholder="-",
        on_select="rerun",
        selection_mode="single-cell",
        column_config={
            "": st.column_config.TextColumn(width=30),
            "Held-out row": st.column_config.TextColumn(width=345),
            "Loss a token": st.column_config.NumberColumn(format="%.3f", width=90),
            "at first": st.column_config.NumberColumn(format="%.3f", width=70),
            "Nearest training row": st.column_config.TextColumn(width=345),
            "Cosine": st.column_config.NumberColumn(format="%.3f", width=70),
        },
    )
    ui.keep_open_row(chosen)
    one = rows[opened]
    _beside(run, texts[one.id], near.get(one.id, []))


def _beside(run: LoraRun, row: Any, near: list[NearRow]) -> None:
    """Show a held-out row beside the training row nearest to it, with a way to both."""
    if row is None:
        st.caption("This row is no longer in this workspace.")
        return
    other = samples.find(ui.workspace().database, near[0].id) if near else None
    with st.container(horizontal=True):
        ui.link("row", "The held-out row", icon=":material/article:", id=row.id)
        if run.weights is not None:
            ui.link("chat", "Ask it in Chat", icon=":material/forum:", run=run.name, row=row.id)
        for place, one in enumerate(near, 1):
            ui.link(
                "row", f"Training row {place}, cosine {one.cosine:.3f}", icon=":material/article:", id=one.id
            )
    if other is not None:
        titles, item = ("Held out", "Nearest in training"), f"{row.id}-{other.id}"
        ui.compare_rows(row, other, titles, item, is_marked=near[0].cosine >= ALIKE)
    else:
        ui.show_text(row.instruction)
        ui.show_text(row.response, "python")


def _data(run: LoraRun) -> None:
    data = run.data
    if not data:
        st.caption("Its rows are read when training begins.")
        return
    train, held_out = data["train"], data["validation"]
    names = (
        ("rows", "rows used"),
        ("cut", "of them cut at the cutoff"),
        ("infilling", "of them infilling: loss on every part"),
        ("tokens", "tokens"),
        ("learned_tokens", "tokens that carry loss"),
        ("median", "median tokens of a row"),
        ("longest", "longest row"),
    )
    told = [(words, f"{train[key]:,}", f"{held_out[key]:,}") for key, words in names]
    for reason in dict.fromkeys([*train["unusable"], *held_out["unusable"]]):
        told.append(
            (
                f"not used: {reason}",
                f"{train['unusable'].get(reason, 0):,}",
                f"{held_out['unusable'].get(reason, 0):,}",
            )
        )
    columns = {name: [one[n] for one in told] for n, name in enumerate(("", "training", "held out"))}
    st.dataframe(ui.frame(columns), hide_index=True, height="content")
    left_out = sum(train["unusable"].values())
    if left_out:
        st.caption(
            f"{ui.count_of(left_out, 'row')} could not be trained on: nothing of the answer lies within the "
            "cutoff. A higher cutoff takes them in."
        )
        with st.expander("Which rows"):
            ids = list(data.get("unusable", {}))
            st.caption(f"The first {min(200, len(ids)):,} of {len(ids):,}.")
            ui.show_text("\n".join(ids[:200]), height=240)


def _settings(run: LoraRun) -> None:
    rows = run_report.settings_rows(run)
    st.caption("Frozen when the run was started; nothing changes them afterwards.")
    st.dataframe(
        ui.frame(
            {
                "Setting": [one[0].replace("_", " ") for one in rows],
                "Value": [one[1] for one in rows],
                "Source": [one[2] for one in rows],
            }
        ),
        hide_index=True,
        height="content",
        column_config={
            "Setting": st.column_config.TextColumn(width=170),
            "Value": st.column_config.TextColumn(width=220),
            "Source": st.column_config.TextColumn(width=580),
        },
    )
    versions = run.frozen["versions"]
    with st.expander("As YAML, to start the like", icon=":material/content_copy:"):
        frozen = run.frozen
        text = as_yaml(frozen["version"], frozen["recipe"], frozen["base_model"]["name"], run.settings)
        st.code(revealed(text), language="yaml", height=360)
    st.caption(ui.plain("trained with " + ", ".join(f"{name} {one}" for name, one in versions.items())))


def _compare(run: LoraRun, axis: str) -> None:
    others = [one.name for one in training_runs.runs(ui.workspace()) if one.name != run.name]
    if not others:
        st.caption("There is no other run to compare with yet.")
        return
    chosen = ui.choose("Compare with", "with", ["", *others], shown=lambda name: name or "choose a run")
    if not chosen:
        return
    other = training_runs.find(ui.workspace(), chosen)
    _loss_chart([(run.name, ui.measured(run)), (other.name, ui.measured(other))], axis)
    st.caption(
        "Thin: training, smoothed; faint: each step. Thick, with points: held out. Compare held-out loss on "
        "equal versions only."
    )
    differs = run_report.differences(run, other)
    if not differs:
        st.caption("They were told the same: any difference is chance.")
        return
    st.dataframe(
        ui.frame(
            {
                "What differs": [one[0].replace("_", " ") for one in differs],
                run.name: [one[1] for one in differs],
                other.name: [one[2] for one in differs],
            }
        ),
        hide_index=True,
        height="content",
    )


@st.fragment(run_every=POLL_SECONDS)
def _live_log(run: LoraRun) -> None:
    with ui.readable_errors():
        _log(run)


def _log(run: LoraRun) -> None:
    job = _job_of(run)
    if job is None:
        st.caption("No job of this run is known here: it was trained from a terminal, or long ago.")
        return
    text = revealed(jobs.log_tail(ui.folder(), job.id))
    st.caption("The end of the log of its newest job.")
    st.code(text or "The log is empty.", language=None, height=300 if len(text) > 800 else "content")


def _result(run: LoraRun) -> None:
    if run.weights is None:
        st.caption("There are no weights yet: they are written when the run ends, with their card.")
        return
    is_lora = run.frozen["settings"]["method"] == "lora"
    st.caption(f"The {'adapter' if is_lora else 'model'} lies in:")
    ui.show_line(run.output)
    if is_lora:
        _offer_merge(run)
    _offer_push(run, is_lora)
    ui.show_jobs_of(("merge", "push"))
    card = run.output / "README.md"
    if card.is_file():
        st.caption("Its card:")
        ui.show_text(card.read_text(encoding="utf-8", errors="replace"), "markdown", height=600)


def _offer_merge(run: LoraRun) -> None:
    to = ui.folder() / "exports" / f"{run.name}-merged"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Write base and adapter as one model",
            key="run_merge",
            icon=":material/merge:",
            on_click=ui.start,
            args=("merge", {"run": run.name, "to": str(to)}),
        )
        st.caption("It is there; pressing again writes it anew:" if to.is_dir() else "Goes to:")
    ui.show_line(to)


def _offer_push(run: LoraRun, is_lora: bool) -> None:
    """A form for the hub. The token is read from the environment, by the process that pushes."""
    has_token = bool(os.environ.get("HF_TOKEN", "").strip())
    with st.form("run_push", border=True):
        st.markdown("**Push to a hub**")
        a, b, c = st.columns([3, 1, 2], vertical_alignment="bottom")
        repository = a.text_input("Repository", key="run_repository", placeholder="OWNER/NAME", max_chars=96)
        is_public = b.toggle("Public", key="run_public", help="Without it only you can read the repository.")
        is_merged = is_lora and c.toggle("As one merged model", key="run_merged")
        pressed = st.form_submit_button("Push", icon=":material/cloud_upload:", disabled=not has_token)
        st.caption(
            "One commit: weights, tokenizer, card and the run's settings, without paths of this machine."
            if has_token
            else "Needs `HF_TOKEN` with write access in the environment of `make run`; it is never stored."
        )
    if pressed:
        given = {"repository": repository.strip(), "private": not is_public, "merged": bool(is_merged)}
        ui.start("push", {"run": run.name, **given})
        st.rerun()


def _below(run: LoraRun, state: str, axis: str) -> None:
    view = ui.switch("View", "show", VIEWS)  # not "view": the overview binds that name
    if view == "Log":
        (_live_log if state in GOES_ON else _log)(run)
    elif view == "Compare":
        _compare(run, axis)
    else:
        {"Data": _data, "Settings": _settings, "Result": _result}.get(view, _held_out_rows)(run)


# --- the page ---


def _draw(run: LoraRun, axis: str) -> str:
    job = _job_of(run)
    state = ui.state_of_run(run, job)
    measured = ui.measured(run)
    _head(run, state)
    _why(run, state, job)
    _progress(run, state, job)
    _facts(run, measured)
    _charts(run, measured, axis)
    return state


def _marks(run: LoraRun) -> tuple[int, bool]:
    """Give what changes the part below the curves: evaluations, and whether its rows were read."""
    return sum("eval_loss" in one for one in ui.measured(run)), bool(run.data)


@st.fragment(run_every=POLL_SECONDS)
def _watch(run: LoraRun, axis: str, known: tuple[int, bool]) -> None:
    """Draw what changes while it goes on, every two seconds; the page after an evaluation and at its end."""
    with ui.readable_errors():
        if _draw(run, axis) not in GOES_ON or _marks(run) != known:
            st.rerun()


def _page(run: LoraRun) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        ui.link("runs", "All runs", icon=":material/arrow_back:")
        st.space("stretch")
        axis = AXES[ui.switch("Across", "x", list(AXES))]
    state = ui.state_of_run(run, _job_of(run))
    if state in GOES_ON:
        _watch(run, axis, _marks(run))
    else:
        _draw(run, axis)
    _below(run, state, axis)


ui.heading("Run", "Read from the run's own folder: what it was told, and what it measured.")
found = _find()
if found is not None:
    _page(found)
