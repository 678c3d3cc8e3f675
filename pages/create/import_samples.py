"""Import: a file, seen as it will be read, then kept row by row; what cannot be used is listed."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

import ui
from curation.formats import FieldMap
from curation.import_samples import HUB, keep_upload, preview
from curation.records import BadRow
from curation.store import browsing

FOUND = "(found by its name)"
BAD_ROWS = 25  # unusable rows shown at a time


def _upload() -> str | None:
    given = st.file_uploader(
        "File",
        type=["json", "jsonl", "parquet", "gz"],
        key="import_upload",
        help="JSON, JSONL or Parquet, also .gz, up to 50 MB. Larger files: by their path.",
    )
    if given is None:
        return None
    path = keep_upload(ui.workspace(), given.name, given.getvalue())
    return str(path)


def _source() -> str | None:
    way = st.segmented_control(
        "From",
        ["Upload", "Path on this machine", "Hugging Face hub"],
        default="Upload",
        required=True,
        key="from",
        bind="query-params",
    )
    if way == "Upload":
        return _upload()
    if way == "Path on this machine":
        typed = st.text_input(
            "Path", key="import_path", placeholder="/data/code_alpaca.jsonl.gz", max_chars=4_000
        ).strip()
        return typed or None
    typed = st.text_input("Data set", key="import_hub", placeholder="user/name or user/name:split").strip()
    st.caption("Read with your own access (`HF_TOKEN` in the environment for gated sets). Needs the network.")
    return f"{HUB}{typed.removeprefix(HUB)}" if typed else None


def _fields(columns: list[str]) -> FieldMap:
    """Let a person say which column is which."""
    chosen = FieldMap()
    for place, name in zip(st.columns(3), ("instruction", "input", "response"), strict=True):
        options = [FOUND, *columns]
        column = place.selectbox(
            f"Column of the {name}",
            options,
            key=f"import_{name}",
            format_func=ui.revealed,
            help="Which column holds it.",
        )
        if column != FOUND:
            chosen = replace(chosen, **{name: column})
    return chosen


def _preview(path: Path) -> FieldMap | None:
    """Show three rows as they will be read. Gives the columns chosen, or None when no row can be read."""
    columns = preview(path, FieldMap()).columns
    fields = _fields(columns)
    seen = preview(path, fields)
    st.markdown("**The first three rows, as they will be read**")
    for number, row in enumerate(seen.rows, start=1):
        with st.container(border=True):
            if isinstance(row, BadRow):
                st.badge(f"row {number} cannot be used", color="red", icon=":material/error:")
                ui.show_line(row.message)
                continue
            left, right = st.columns(2)
            with left:
                st.caption("instruction")
                ui.show_text(row.instruction, height=160)
                if row.input:
                    st.caption("input")
                    ui.show_text(row.input, height=120)
            with right:
                st.caption("response")
                ui.show_text(row.response, height=240)
    usable = any(not isinstance(row, BadRow) for row in seen.rows)
    return fields if usable or not seen.rows else None


def _form(source: str) -> None:
    fields: FieldMap | None = FieldMap()
    if not source.startswith(HUB):
        try:
            fields = _preview(Path(os.path.expanduser(source)))  # leaves a ~NAME that nobody has as it is
        except Exception as error:
            ui.say_error(error)
            return
        if fields is None:
            st.warning(
                "None of the first three rows can be used: choose the columns above.",
                icon=":material/warning:",
            )
    base = source.rsplit("/", 1)[-1]
    left, right = st.columns(2)
    name = left.text_input(
        "Name of the set",
        key="import_name",
        placeholder=base,
        max_chars=100,
        help="A label to filter by. Empty: the file's name.",
    ).strip()
    licence = right.text_input(
        "Licence (SPDX)",
        key="import_licence",
        placeholder="unknown",
        max_chars=100,
        help="Such as MIT or CC-BY-NC-4.0. It travels with every row to the export.",
    ).strip()
    told = _round()
    settings = {
        **told,
        "file": source,
        "name": name or None,
        "licence": licence or None,
        "instruction": fields.instruction if fields else None,
        "input": fields.input if fields else None,
        "response": fields.response if fields else None,
    }
    st.button(
        "Import",
        type="primary",
        icon=":material/upload_file:",
        key="import_start",
        disabled=fields is None,
        on_click=ui.start,
        args=("import", settings),
        help="Runs as a job; you can close this tab meanwhile.",
    )


def _round() -> dict[str, Any]:
    """Ask whether the rows are a round of evolving a set that is here."""
    known = ui.sets()
    if not known:
        return {}
    with st.expander("They are a round of Evol-Instruct that somebody else has run"):
        left, right = st.columns(2)
        parents = left.selectbox(
            "Evolved from", ["", *known], key="import_parents",
            format_func=lambda name: f"{ui.revealed(name)} ({known[name]:,})" if name else "no set",
        )  # fmt: skip
        round = right.number_input("Round", 1, 99, 1, key="import_round", disabled=not parents)
        st.caption(
            "Each row is linked to the task it came of, where its words tell, and looked at by the rules of "
            "elimination. Rows stay as they are."
        )
    return {"parents": parents, "round": int(round)} if parents else {}


def _result() -> None:
    """Say what the newest import came to."""
    newest = ui.last_job("import")
    if newest is None or newest.state != "done" or newest.report is None:
        return
    report = newest.report
    rejected = sum(report["rejected"].values())
    again = (
        " Nothing was new: this file was imported before."
        if report.get("unchanged") or not report["new"]
        else ""
    )
    with st.container(border=True):
        st.success(
            f"{ui.plain(newest.title)}: {ui.count_of(report['imported'], 'row')} usable, "
            f"{report['new']:,} new, "
            f"{rejected:,} unusable.{again}",
            icon=":material/check_circle:",
        )
        if told := report.get("round"):
            st.caption(
                f"Round {told['round']}: the parents of {told['linked']:,} rows were recognised "
                f"({told['whole']:,} hold their parent's text whole), of {told['unlinked']:,} not; "
                f"{sum(told['rejected'].values()):,} fail a rule."
            )
            ui.link("evolve", "How the round stands", icon=":material/table_chart:", view="Rounds",
                    evolution=told["evolution"])  # fmt: skip
        for warning in newest.warnings:
            ui.show_line(f"Note: {warning}")
        ui.link("clean", "Next: drop exact duplicates", icon=":material/arrow_forward:")


def _files() -> None:
    files = browsing.file_rows(ui.workspace().database)
    st.subheader("What was imported", anchor=False)
    if not files:
        st.markdown("Nothing yet. Choose a file above, or **try Winnow on the code on this machine**:")
        ui.link("overview", "To the overview", icon=":material/dashboard:")
        return
    table = ui.frame(
        {
            "Set": [f["name"] for f in files],
            "File": [f["source"] for f in files],
            "State": [f["state"] for f in files],
            "Usable rows": [f["imported"] for f in files],
            "Unusable rows": [sum(f["rejected"].values()) for f in files],
            "Licence": [f["settings"].get("licence", "unknown") for f in files],
            "Notes": ["; ".join(f["warnings"]) for f in files],
        }
    )
    number = st.column_config.NumberColumn(format="localized")
    st.dataframe(
        table,
        hide_index=True,
        key="import_files",
        column_config={"Usable rows": number, "Unusable rows": number},
    )
    for file in files:
        bad = sum(file["rejected"].values())
        if bad:
            with st.expander(f"{ui.count_of(bad, 'row')} of {ui.plain(file['source'])} could not be used"):
                _bad_rows(file)


def _bad_rows(file: dict) -> None:
    rows = browsing.rejected_rows(ui.workspace().database, file["hash"], None, BAD_ROWS)
    st.dataframe(
        ui.frame(
            {
                "Row": [r["row"] for r in rows],
                "Line": [r["line"] for r in rows],
                "Reason": [r["reason"].replace("_", " ") for r in rows],
                "What is wrong": [r["message"] for r in rows],
                "How it begins": [r["excerpt"] for r in rows],
            }
        ),
        hide_index=True,
    )
    if sum(file["rejected"].values()) > BAD_ROWS:
        st.caption(
            f"The first {BAD_ROWS} are shown. Mend the file and import it again: good rows are not doubled."
        )


ui.heading(
    "Import",
    "Bring instruction data. Good rows are kept, bad ones are listed with their line and what is wrong.",
)
if not ui.show_jobs_of(("import",), _result):
    source = _source()
    if source is not None:
        _form(source)
_files()
