"""Settings: where everything is kept, what is pinned, what leaves this machine (nothing)."""

import shutil
from importlib.metadata import version
from pathlib import Path

import streamlit as st

import ui
from curation import __version__
from curation.embedding import BUNDLED, BUNDLED_SHA256
from curation.hidden_characters import revealed
from curation.store import benchmarks as pinned

LOG_END = 6_000  # characters of the log shown
PACKAGES = ("streamlit", "dbos", "SQLAlchemy", "sentence-transformers", "torch", "datasets")


def _size(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if path.is_dir()
        else path.stat().st_size
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _workspace() -> None:
    st.subheader("Workspace", anchor=False)
    folder = ui.folder()
    st.code(str(folder), language=None)
    st.caption(
        "One folder holds everything. Choose another one with `make run WORKSPACE=DIR` "
        "or the variable WINNOW_WORKSPACE."
    )
    parts = {
        "Database": folder / "winnow.sqlite",
        "Vectors": folder / "embeddings",
        "Pairs": folder / "pairs",
        "Versions": folder / "datasets",
        "Models": folder / "models",
        "Training runs": folder / "runs",
        "Uploads": folder / "uploads",
        "Exports": folder / "exports",
    }
    there = {name: path for name, path in parts.items() if path.exists()}
    left, right = st.columns([2, 1])
    left.dataframe(
        ui.frame({"Part": list(there), "Size": [_megabytes(_size(p)) for p in there.values()]}),
        hide_index=True,
    )
    right.metric("Free on this disk", f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB", border=True)
    st.caption(
        "Back up with `.venv/bin/python -m curation backup FILE --workspace DIR`, bring back with "
        "`.venv/bin/python -m curation restore FILE --workspace DIR`; DIR is the folder above."
    )


def _pinned() -> None:
    st.subheader("Model and benchmarks", anchor=False)
    st.markdown(f"Rows are compared by **{BUNDLED}** (bundled, checked before use, reads 256 word pieces).")
    st.code(BUNDLED_SHA256, language=None)
    rows = pinned.all_pinned(ui.workspace().database)
    if rows:
        st.dataframe(
            ui.frame(
                {
                    "Benchmark": [b.name for b in rows],
                    "Tasks": [ui.number(b.items) for b in rows],
                    "Is the published file": ["yes" if b.verified else "not known" for b in rows],
                    "From": [b.origin for b in rows],
                    "sha256": [b.sha256 for b in rows],
                }
            ),
            hide_index=True,
        )
    else:
        st.caption("No benchmark was loaded yet; each is pinned by its hash when it is.")


def _safety() -> None:
    st.subheader("Safety", anchor=False)
    st.markdown(
        "- The app listens on this machine only; pages of other hosts cannot talk to it.\n"
        "- Nothing is sent anywhere: no telemetry; the network is used only for hub names that you type.\n"
        "- Text of rows is shown as text, never as HTML or Markdown. Code in rows is never run.\n"
        "- Keys (`OPENAI_API_KEY`, `HF_TOKEN`) are read from the environment and never stored."
    )


def _log() -> None:
    with st.expander("What went wrong lately (logs)"):
        for name in ("app.log", "worker.log", "errors.log"):
            file = ui.folder() / "logs" / name
            if file.is_file() and file.stat().st_size:
                st.caption(name)
                with file.open("rb") as stream:
                    stream.seek(max(0, file.stat().st_size - LOG_END))
                    st.code(revealed(stream.read().decode("utf-8", "replace")), language=None, height=260)


ui.heading("Settings", "Where everything is kept, what is pinned, and what leaves this machine.")
_workspace()
_pinned()
_safety()
_log()
st.caption(f"Winnow {__version__} · " + " · ".join(f"{name} {version(name)}" for name in PACKAGES))
