"""Datasets: freeze what is left as a named, hashed version; export and download it."""

import os
from pathlib import Path
from typing import Any

import streamlit as st

import jobs
import ui
from curation.assemble import Settings, check_name
from curation.export import FORMATS, archive, folder_of, licence_notes
from curation.store import evolutions, versions

OPEN = {
    "refuse": "Refuse to freeze while questions are open",
    "drop": "Leave their pending rows out",
    "keep": "Keep their pending rows",
}


def _warnings(stages: list[dict[str, Any]], questions: int) -> bool:
    """Say what stands against freezing. Gives whether it is impossible."""
    stale = [stage for stage in stages if stage["ran"] and stage["stale"]]
    for stage in stale:
        title = ui.STAGE_TITLES[stage["stage"]]
        st.error(
            f"{title} is stale: {ui.count_of(stage['stale'], 'row')} changed since it ran. "
            "Run it again first.",
            icon=":material/update:",
        )
        ui.link(stage["stage"], f"To {title.lower()}", icon=":material/arrow_forward:")
    for stage in stages:
        if not stage["ran"]:
            st.warning(
                f"{ui.STAGE_TITLES[stage['stage']]}: this stage never ran; the version will say so.",
                icon=":material/warning:",
            )
    if questions:
        st.warning(
            f"{ui.count_of(questions, 'question is', 'questions are')} open. "
            "Answer them, or say below what happens to their rows.",
            icon=":material/rate_review:",
        )
        ui.link("review", "Review them", icon=":material/arrow_forward:")
    running = [job for job in jobs.active(ui.folder()) if job.step in ui.STAGE_TITLES or job.step == "import"]
    for job in running:
        st.error(f"{ui.plain(job.title)} is {job.state}: wait for its end.", icon=":material/hourglass:")
    return bool(stale or running)


def _is_name(name: str) -> bool:
    """Say at once what would be refused later."""
    try:
        check_name(name)
    except ui.WrongInput as error:
        if name:
            ui.say_error(error)
        return False
    return True


def _form(counts: dict[str, Any]) -> None:
    places = ui.places()
    ran = any(stage["ran"] for stage in counts.stages)
    kept, pending = (places["kept"] if ran else counts.samples), places["pending"]
    asked = ui.review_counts()
    questions = asked["open"] + asked["disputed"]
    blocked = _warnings(counts.stages, questions)
    default = Settings()
    a, b, c = st.columns([2, 1, 1])
    name = a.text_input(
        "Name",
        key="freeze_name",
        placeholder="v1",
        max_chars=100,
        help="Letters, digits, '-', '_' and '.'. A frozen version never changes.",
    ).strip()
    size = b.number_input(
        "At most rows",
        1,
        10_000_000,
        default.size,
        1_000,
        key="freeze_size",
        help="Open-Platypus holds 24,926.",
    )
    share = c.number_input(
        "Set aside for validation", 0.0, 0.9, default.validation, 0.01, key="freeze_validation"
    )
    choice = st.radio(
        "Open questions",
        list(OPEN),
        format_func=OPEN.get,
        key="freeze_open",
        index=1 if questions else 0,
        horizontal=True,
    )
    st.markdown(_forecast(kept, pending, int(size), choice))
    settings = {"name": name, "size": int(size), "open_cases": choice, "validation": share, **_through()}
    st.button(
        "Freeze",
        type="primary",
        key="freeze_start",
        icon=":material/ac_unit:",
        on_click=ui.start,
        args=("assemble", settings),
        disabled=not _is_name(name) or blocked or (choice == "refuse" and questions > 0),
        help="Takes seconds." if name else "Give it a name first.",
    )


def _through() -> dict[str, Any]:
    """Say up to which round of an evolution is frozen, as the page Evolve asks for it in the address."""
    asked = st.query_params
    id, through = asked.get("evolution", ""), asked.get("through", "")
    found = evolutions.find(ui.workspace().database, id) if id else None
    if found is None or not (through.isascii() and through.isdecimal() and len(through) < 3):
        return {}
    with st.container(horizontal=True, vertical_alignment="center"):
        what = "the seed set alone" if through == "0" else f"rounds 1 to {through}"
        st.info(
            f"Of the evolution {ui.plain(found.name)} only {what}: later rows are left out and say why.",
            icon=":material/trending_up:",
        )
        st.button(
            "All rounds", key="freeze_all_rounds", on_click=ui.set_query, args=(("evolution", "through"),)
        )
    return {"evolution": found.id, "through_round": int(through)}


def _forecast(kept: int, pending: int, size: int, choice: str) -> str:
    """Say how many rows the version will hold."""
    rows = kept + (pending if choice == "keep" else 0)
    about = "up to " if choice == "keep" and pending else ""
    fate = "that may come in" if choice == "keep" else "left out"
    cut = f", cut to {size:,} by a draw that depends on the rows alone" if rows > size else ""
    return (
        f"The version will hold {about}**{min(rows, size):,}** rows: {kept:,} kept"
        + (f", {pending:,} pending {fate}" if pending else "")
        + f"{cut}."
    )


def _chosen(names: list[str]) -> str:
    newest = list(reversed(names))
    return ui.choose("Version", "version", newest, default=newest[0])


def _version(name: str) -> None:
    version = versions.find(ui.workspace().database, name)
    if version is None:
        return
    report, manifest = version.manifest["report"], version.manifest
    columns = st.columns(4)
    columns[0].metric("Rows", f"{version.rows:,}", border=True)
    columns[1].metric("Held out", f"{report['validation']:,}", border=True, help="For validation.")
    columns[2].metric("Samples", f"{report['samples']:,}", border=True, help="It was made from.")
    columns[3].metric(
        "Benchmarks", f"{len(manifest['benchmarks']):,}", border=True, help="Its rows were compared with."
    )
    if not report["contamination_checked"]:
        st.warning(
            "Contamination was not checked: a model trained on this may know the tasks it is measured by.",
            icon=":material/warning:",
        )
    for note in licence_notes(manifest["licences"]):
        st.warning(note, icon=":material/license:")
    st.text(f"frozen {version.created_at} · sha256 {version.sha256}")
    titles = ui.STAGE_TITLES | {"assemble": "left out when freezing"}
    dropped = {titles[s]: n for s, n in report["dropped"].items()}
    st.markdown(
        f"{report['samples']:,} samples = **{version.rows:,} rows** + "
        + " + ".join(f"{n:,} {s.lower()}" for s, n in dropped.items())
    )
    left, right = st.columns(2)
    with left:
        _table("Sets", manifest["sources"])
        _table("Licences", manifest["licences"])
    with right:
        _table("Left out when freezing", {_reason(k): v for k, v in report["assemble_reasons"].items()})
        _table(
            "Benchmarks checked",
            {
                b: f"{v['items']:,} tasks, sha256 {v['sha256'][:12]}"
                for b, v in manifest["benchmarks"].items()
            },
        )


def _reason(reason: str) -> str:
    stage = reason.removeprefix("open_").replace("_", "-")
    if reason.startswith("open_") and stage in ui.STAGE_TITLES:
        return f"open questions: {ui.STAGE_TITLES[stage].lower()}"
    return reason.replace("_", " ")


def _table(title: str, values: dict[str, Any]) -> None:
    if values:
        st.dataframe(
            ui.frame(
                {title: list(values), "": [f"{v:,}" if isinstance(v, int) else v for v in values.values()]}
            ),
            hide_index=True,
        )


def _export(name: str) -> None:
    st.subheader("Export", anchor=False)
    a, b, c = st.columns([1, 1, 2])
    form = a.selectbox("Format", list(FORMATS), index=list(FORMATS).index("messages"), key="export_format")
    files = b.selectbox("Files", ["jsonl", "parquet"], key="export_files")
    folder = folder_of(ui.workspace(), name, form, files)
    typed = c.text_input("Folder on this machine", key="export_to", placeholder=str(folder)).strip()
    target = Path(os.path.expanduser(typed)) if typed else folder  # a ~NAME that nobody has stays as it is
    st.button(
        "Export",
        type="primary",
        key="export_start",
        icon=":material/folder_zip:",
        on_click=ui.start,
        args=("export", {"name": name, "format": form, "files": files, "to": str(target)}),
        help="Writes the rows and a card (README.md); datasets.load_dataset reads the folder.",
    )
    done = next(
        (
            j
            for j in jobs.jobs(ui.folder(), limit=30)
            if j.step == "export" and j.state == "done" and j.settings.get("name") == name
        ),
        None,
    )
    if done is None or done.report is None:
        return
    with st.container(border=True):
        st.success(f"{ui.count_of(done.report['rows'], 'row')} exported.", icon=":material/check_circle:")
        ui.show_line(done.settings["to"])
        there = Path(done.settings["to"])
        st.download_button(
            "Download as zip",
            data=lambda: archive(there),
            file_name=f"{there.name}.zip",
            mime="application/zip",
            key="export_download",
            icon=":material/download:",
            on_click="ignore",
        )


ui.heading("Datasets", "Freeze the rows that are left as a named version that never changes, then export it.")
counts = ui.funnel()
names = versions.names(ui.workspace().database)
if not counts.samples:
    ui.empty("There is nothing to freeze yet.", "import", "Import my data")
else:
    if not ui.show_jobs_of(("assemble", "export")):
        with st.expander(
            "Freeze a version", expanded=not names or "through" in st.query_params, icon=":material/ac_unit:"
        ):
            _form(counts)
    if names:
        name = _chosen(names)
        _version(name)
        _export(name)
