"""Jobs: what runs, what waits, what came of the rest; cancel, resume, read the log."""

import streamlit as st

import jobs
import ui
from curation.hidden_characters import revealed

SHOWN = 50


@st.fragment(run_every=ui.POLL_SECONDS)
def _live() -> None:
    """Draw what is queued or running, renewed every second; draw the whole page again when one ends."""
    with ui.readable_errors():
        live = [job for job in jobs.jobs(ui.folder(), limit=SHOWN) if job.state in ui.LIVE]
        known = st.session_state.get("jobs_live")
        st.session_state["jobs_live"] = [job.id for job in live]
        if known is not None and known != st.session_state["jobs_live"]:
            st.rerun()
        worker = "is running" if jobs.worker_alive(ui.folder()) else "starts with the next job"
        st.caption(f"The worker process {worker}.")
        if not live:
            st.markdown("Nothing is running.")
        for job in live:
            ui.draw_job(job)


def _ended() -> None:
    ended = [job for job in jobs.jobs(ui.folder(), limit=SHOWN) if job.state not in ui.LIVE]
    if not ended:
        return
    st.subheader("Ended", anchor=False)
    done_since: list[tuple[str, object]] = [(job.step, job.settings) for job in jobs.active(ui.folder())]
    for job in ended:
        same = (job.step, job.settings)
        ui.draw_job(job, may_resume=same not in done_since)  # a newer job took over the work of this one
        done_since.append(same)
        with st.expander("Settings and log", key=f"log-{job.id}", on_change="rerun") as opened:
            if opened.open:
                _details(job)


def _details(job: "jobs.Job") -> None:
    took = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
    st.text(f"{job.id} · took {ui.duration(took)}")
    ui.show_data(dict(job.settings), expanded=False)
    if job.report:
        ui.show_data(dict(job.report), expanded=False)
    log = jobs.log_tail(ui.folder(), job.id)
    st.code(revealed(log) or "The log is empty.", language=None, height=240 if len(log) > 800 else "content")


ui.heading("Jobs", "Long work runs in processes of its own: one curation job and one training run at a time.")
st.info(
    "Closing this tab, restarting the app or pressing Ctrl-C in the terminal of `make run` does not stop "
    "a job: it goes on in the background, and you find it here again. **Cancel** stops one and keeps what is "
    "finished; `make stop` stops the worker, and its job goes on at the next `make run`.",
    icon=":material/info:",
)
_live()
_ended()
