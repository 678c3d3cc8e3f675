"""Harvest: choose a source, see real cuts while moving the bounds, and start."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

import ui
from curation.cut_preview import Preview, PreviewCut, preview
from curation.errors import CurationError
from curation.import_samples import keep_upload
from curation.languages import quotas
from curation.seeds import settings_of
from curation.store import seed_browsing

PATH, UPLOAD, GIT, INSTALLED, HUB = (
    "Path on this machine",
    "Upload",
    "Git address",
    "Installed packages",
    "Hugging Face hub",
)
POLICIES = {"magicoder": "Lines by chance", "syntax": "Whole functions"}
ALL, MIX, EACH = "All", "Magicoder's mix", "Equal shares"
LONGEST = 60  # lines that the slider reaches; the command line takes more
COSTS = {
    PATH: "Costs nothing but this machine's time.",
    UPLOAD: "Up to 50 MB. Nothing is unpacked on the disk; what breaks a limit is refused.",
    GIT: "Needs the network, and room for the newest state of the repository while it is read.",
    INSTALLED: "Measured on two busy cores: 30,500 documents in 2 minutes. The standard library is left out.",
    HUB: "Streamed: nothing but the seeds and their files is kept. Needs the network, and HF_TOKEN in the "
    "environment for gated sets such as bigcode/starcoderdata.",
}
CARD_HEIGHT = 176  # pixels of a cut in the preview


def _source() -> tuple[str, str]:
    """Let a person name a source. Gives what was named ("": nothing yet), and the kind."""
    way = st.segmented_control(
        "From",
        [PATH, UPLOAD, GIT, INSTALLED, HUB],
        default=PATH,
        required=True,
        key="from",
        bind="query-params",
    )
    if way == UPLOAD:
        return _upload(), way
    if way == INSTALLED:
        return "installed", way
    told = {
        PATH: ("Folder, archive or file", "/data/project or code.tar.gz, .zip, .parquet, .jsonl"),
        GIT: ("Address", "https://github.com/owner/name"),
        HUB: ("Data set", "owner/name or owner/name:data_dir"),
    }[way]
    typed = st.text_input(told[0], key=f"harvest_{way}", placeholder=told[1], max_chars=4_000).strip()
    return (f"hf:{typed.removeprefix('hf:')}" if typed and way == HUB else typed), way


def _upload() -> str:
    given = st.file_uploader(
        "Archive or file of rows",
        type=["zip", "gz", "tgz", "tar", "parquet", "jsonl"],
        key="harvest_upload",
        help="A .tar.gz or .zip of code, or Parquet or JSONL with a column `content`.",
    )
    return "" if given is None else str(keep_upload(ui.workspace(), given.name, given.getvalue()))


def _asked() -> dict[str, Any]:
    """Let a person say how it is cut and how much is wanted, as the job's settings."""
    left, middle, right = st.columns([1.1, 1.1, 1.4], gap="medium")
    with left:
        policy = ui.switch(
            "Cut",
            "policy",
            list(POLICIES),
            hide_label=False,
            shown=lambda name: POLICIES[name],
            help="By chance: Magicoder's rule, any consecutive lines. Whole functions: a function or class "
            "that a parser found, of the lengths beside.",
        )
    with middle:
        low, high = st.slider("Lines of a snippet", 1, LONGEST, (1, 15), key="harvest_lines")
    with right:
        how = st.segmented_control(
            "How many", [ALL, MIX, EACH], default=ALL, required=True, key="many", bind="query-params"
        )
        number = _number(how)
    return {"policy": policy, "min_lines": low, "max_lines": high, **number, **_rarely_asked()}


def _number(how: str) -> dict[str, int]:
    """Ask how many seeds are wanted, where that is not all."""
    if how == MIX:
        total = int(st.number_input("Seeds in all", 1, 10_000_000, 80_000, 1_000, key="harvest_total"))
        st.caption(_shares(total))
        return {"total": total}
    if how == EACH:
        each = st.number_input("Seeds of each language", 1, 10_000_000, 5_000, 100, key="harvest_each")
        return {"per_language": int(each)}
    return {}


def _shares(total: int) -> str:
    shares = quotas(total)
    return "At most " + ", ".join(f"{number:,} {name}" for name, number in shares.items())


def _rarely_asked() -> dict[str, Any]:
    with st.expander("Licences and chance"):
        unknown = st.checkbox(
            "Use code whose licence nobody tells",
            key="harvest_unknown",
            help="Each seed keeps the word unknown, and so does what is made from it.",
        )
        typed = st.text_input(
            "Licences allowed besides the permissive ones",
            key="harvest_licences",
            placeholder="MPL-2.0, EPL-2.0",
            max_chars=500,
            help="SPDX ids, with commas between them.",
        )
        number = st.number_input("Random seed", 0, 2**31 - 1, 976, 1, key="harvest_seed")
    licences = [one.strip() for one in typed.split(",") if one.strip()]
    return {"random_seed": int(number), "allow_unknown": unknown, "licences": licences}


def _form(source: str, way: str) -> dict[str, Any] | None:
    """Ask for the settings, and start; None when they cannot be."""
    asked = _asked()
    try:
        settings_of(asked)
    except CurationError as error:
        ui.say_error(error)
        return None
    st.button(
        "Harvest",
        type="primary",
        icon=":material/agriculture:",
        key="harvest_start",
        disabled=not source,
        on_click=ui.start,
        args=("seeds", {"source": source, **asked}),
        help="Runs as a job; you can close this tab meanwhile.",
    )
    st.caption(COSTS[way])
    return asked


@st.cache_data(max_entries=64, ttl=60, show_spinner="Reading some files")
def _previewed(source: str, asked: dict[str, Any]) -> Preview:
    return preview(source, asked)  # what it raises is not kept: the folder may be there a moment later


def _preview(source: str, asked: dict[str, Any]) -> None:
    is_far = source.startswith("hf:") or "://" in source or source.startswith("git@")
    shown = "installed" if is_far or not source else source
    st.markdown("**What it would cut**")
    if shown != source:
        why = "its files are not here yet" if source else "no source is named yet"
        st.caption(f"Real cuts of the packages installed here, because {why}.")
    try:
        found = _previewed(shown, asked)
    except CurationError as error:
        ui.say_error(error)
        return
    amount = "all" if found.is_all else "the first"
    left_out = _mostly(found.left_out)
    st.caption(
        f"{ui.count_of(len(found.cuts), 'document')} of {amount} {found.read:,} read, "
        "taken in the same order whatever you move. " + (f"Left out so far: {left_out}." if left_out else "")
    )
    if found.cuts:
        ui.show_code([_card(one) for one in found.cuts], "harvest_preview", columns=3, height=CARD_HEIGHT)
    elif not found.read:
        st.info("It holds no file in one of the nine languages.", icon=":material/info:")
    else:
        st.info(
            "None of these documents would be used: change the bounds or the licences above.",
            icon=":material/info:",
        )


def _card(one: PreviewCut) -> dict[str, Any]:
    span = f"{one.span[0]}-{one.span[1]}" if one.span[0] != one.span[1] else str(one.span[0])
    name = one.path.rsplit("/", 1)[-1]
    return ui.code_card(f"{name}:{span}", f"{one.language} · {one.licence}", one.lines, one.first, one.span)


def _result() -> None:
    """Say what the newest harvest came to."""
    newest = ui.last_job("seeds")
    if newest is None or newest.state != "done" or newest.report is None:
        return
    report = newest.report
    again = " Nothing changed since it was harvested before." if report.get("unchanged") else ""
    st.success(
        f"{ui.plain(newest.title)}: {ui.count_of(report['snippets'], 'snippet')} of "
        f"{ui.count_of(report['documents'], 'document')}.{again}",
        icon=":material/check_circle:",
    )
    ui.link("seeds", "Look at the seeds", icon=":material/arrow_forward:")


def _harvests() -> None:
    rows = seed_browsing.harvest_rows(ui.workspace().database)
    st.subheader("Harvested so far", anchor=False)
    if not rows:
        st.markdown("Nothing yet.")
        return
    table = ui.frame(
        {
            "Source": [one["given"] for one in rows],
            "State": ["complete" if one["state"] == "complete" else "cut short" for one in rows],
            "Cut": [_cut_words(one["settings"]) for one in rows],
            "Documents": [one["documents"] for one in rows],
            "Used": [one["kept"] for one in rows],
            "Left out": [one["documents"] - one["kept"] for one in rows],
            "Mostly because": [_mostly(one["dropped"]) for one in rows],
        }
    )
    number = st.column_config.NumberColumn(format="localized")
    st.dataframe(
        table,
        hide_index=True,
        key="harvests",
        column_config={"Documents": number, "Used": number, "Left out": number},
    )
    with st.container(horizontal=True):
        ui.link("seeds", "All seeds", icon=":material/grass:")
        ui.link("documents", "Documents left out, by reason", icon=":material/rule:", state="dropped")


def _cut_words(settings: Mapping[str, Any]) -> str:
    what = POLICIES.get(settings["policy"], settings["policy"]).lower()
    return f"{what}, {settings['min_lines']} to {settings['max_lines']} lines"


def _mostly(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {number:,}" for reason, number in list(dropped.items())[:3])


ui.heading(
    "Harvest",
    "Cut seed snippets out of real code: one a document, with its licence, its place and its commit.",
)
if not ui.show_jobs_of(("seeds",), _result):
    source, way = _source()
    asked = _form(source, way)
    if asked is not None:
        _preview(source, asked)
_harvests()
