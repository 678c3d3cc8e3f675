"""What pages share: the workspace, how text of strangers is shown, jobs on the screen, links with filters.

Text that comes from outside (rows, file names, messages that quote them) reaches the screen in three
ways only: `st.code`, `st.text`, `st.dataframe`; the `compare` component, which sets text; or `plain`,
which escapes it.
"""

import json
import logging
import os
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

import jobs
from curation import assemble, evolution_report, near_duplicates, review, review_pace
from curation.budget import TOKENS
from curation.endpoint import default_endpoint, read_endpoint
from curation.errors import CurationError, DamagedWorkspace
from curation.errors import WrongInput as WrongInput
from curation.evolution_report import RoundReport
from curation.hidden_characters import hidden_in, revealed
from curation.insight_browser import InsightBrowser
from curation.pair_browser import PairBrowser
from curation.pair_what_if import WhatIf
from curation.records import question_of
from curation.store import browsing, evolutions, runs, samples, seeds, versions
from curation.store import places as places_of_rows
from curation.word_diff import Span, word_diff
from curation.workspace import Workspace
from training import run as training_runs
from training.run import LoraRun
from training.run_report import shown_state

ROOT = Path(__file__).resolve().parent
PAGES = {
    "overview": "pages/overview/overview.py",
    "import": "pages/create/import_samples.py",
    "harvest": "pages/create/harvest.py",
    "seeds": "pages/create/seeds.py",
    "documents": "pages/create/documents.py",
    "generate": "pages/create/generate.py",
    "replies": "pages/create/replies.py",
    "prompts": "pages/create/prompts.py",
    "evolve": "pages/create/evolve.py",
    "trees": "pages/create/trees.py",
    "samples": "pages/create/samples.py",
    "clean": "pages/curate/clean.py",
    "near-duplicates": "pages/curate/near_duplicates.py",
    "decontaminate": "pages/curate/decontaminate.py",
    "insights": "pages/curate/insights.py",
    "review": "pages/curate/review.py",
    "datasets": "pages/train/datasets.py",
    "train": "pages/train/train.py",
    "runs": "pages/train/runs.py",
    "run": "pages/train/run.py",
    "chat": "pages/train/chat.py",
    "jobs": "pages/jobs/jobs.py",
    "settings": "pages/settings/settings.py",
    "row": "pages/create/row.py",
}
STAGE_TITLES = {
    "clean": "Exact duplicates",
    "near-duplicates": "Near-duplicates",
    "decontaminate": "Contamination",
    "assemble": "Dataset",
}
POLL_SECONDS = 1.0  # how often a running job is looked at
log = logging.getLogger("winnow.app")

# --- the workspace -------------------------------------------------------------------------------


def folder() -> Path:
    """Name the folder that WINNOW_WORKSPACE says, else `workspace` beside the app."""
    return Path(os.environ.get("WINNOW_WORKSPACE") or ROOT / "workspace").expanduser().resolve()


def workspace() -> Workspace:
    """Give the workspace that all sessions share; opening it keeps a worker at hand and the log short.

    Opens it anew when its database was replaced, as by a restored backup: a vote written into the file that
    was there before would be lost. Raises DamagedWorkspace when the database is gone.
    """
    opened, file = _open(folder())
    now = jobs.inode_of(opened.database.path)
    if now is None:
        raise DamagedWorkspace(
            f"{opened.database.path} is gone since the app opened it; bring it back, or start the app again"
        )
    if now != file:
        opened.database.close()
        for cached in (_open, _funnel, _places, _review_counts, _pairs, _insights, _newest_is_current):
            cached.clear()
        opened, _ = _open(folder())
    return opened


@st.cache_resource(show_spinner=False)
def _open(path: Path) -> tuple[Workspace, int | None]:
    """Open the workspace; gives what tells its database from another file under that name, too."""
    opened = Workspace(path)
    file = jobs.inode_of(opened.database.path)  # migrates now, so that an error shows once and at the start
    _log_to(path / "logs" / "app.log")
    jobs.hold_app_lock(path)
    jobs.serve_keys(path)
    jobs.keep_worker(opened)
    return opened, file


def _log_to(file: Path) -> None:
    known = [one.baseFilename for one in log.handlers if isinstance(one, logging.FileHandler)]
    if str(file) in known:
        return
    handler = logging.FileHandler(file, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(jobs.HideKeys())
    log.addHandler(handler)


def stamp() -> str:
    """Give a text that changes whenever stored rows, decisions or versions do: the key of cached counts."""
    return browsing.change_stamp(workspace().database)


@st.cache_data(max_entries=8, show_spinner=False)
def _funnel(path: str, stamp: str) -> browsing.Funnel:
    return browsing.funnel(workspace().database)


def funnel() -> browsing.Funnel:
    """Give samples, and what every stage did with them (see `browsing.funnel`)."""
    return _funnel(str(folder()), stamp())


@st.cache_data(max_entries=8, show_spinner=False)
def _places(path: str, stamp: str) -> dict[str, int]:
    return browsing.sample_facets(workspace().database, browsing.SampleQuery())["place"]


def places() -> dict[str, int]:
    """Count all samples by where they stand now: new, kept, pending, dropped."""
    return dict.fromkeys(("new", "kept", "pending", "dropped"), 0) | _places(str(folder()), stamp())


@st.cache_data(max_entries=8, show_spinner=False)
def _places_by_stage(path: str, stamp: str, place: str) -> dict[str, int]:
    return browsing.sample_facets(workspace().database, browsing.SampleQuery(place=place))["stage"]


def places_by_stage(place: str) -> dict[str, int]:
    """Count the samples of a place by the stage they stand at now: what the list of samples shows."""
    return _places_by_stage(str(folder()), stamp(), place)


@st.cache_data(max_entries=8, show_spinner=False)
def _review_counts(path: str, stamp: str) -> dict[str, Any]:
    return review.counts(workspace())


def review_counts() -> dict[str, Any]:
    """Count the questions: open, settled, disputed."""
    return _review_counts(str(folder()), stamp())


@st.cache_resource(max_entries=2, show_spinner=False)
def _pairs(path: str, run_id: int) -> PairBrowser | None:
    return PairBrowser.open(workspace())


def pair_browser() -> PairBrowser | None:
    """Give the stored pairs of the current run; None when near-duplicates never ran."""
    run = runs.current(workspace().database, "near-duplicates")
    return None if run is None else _pairs(str(folder()), run.id)


@st.cache_resource(max_entries=2, show_spinner=False)
def _what_if(path: str, run_id: int) -> WhatIf | None:
    browser = _pairs(path, run_id)
    return None if browser is None else WhatIf(browser)


def what_if(browser: PairBrowser) -> WhatIf:
    """Ask the stored pairs of a run what other settings would do."""
    found = _what_if(str(folder()), browser.run_id)
    assert found is not None  # there is a browser
    return found


@st.cache_data(max_entries=8, show_spinner=False)
def _removal_by_source(path: str, stamp: str, run_id: int) -> list[dict[str, Any]]:
    with workspace().database.reading() as connection:
        return near_duplicates.removal_by_source(connection, run_id)


def removal_by_source(run_id: int) -> list[dict[str, Any]]:
    """Count what near-duplicates dropped of each source."""
    return _removal_by_source(str(folder()), stamp(), run_id)


@st.cache_data(max_entries=8, show_spinner=False)
def _sources(path: str, stamp: str) -> list[str]:
    with workspace().database.reading() as connection:
        return sorted(places_of_rows.sources(connection))


def sources() -> list[str]:
    """Name every source and every set that samples come from."""
    return _sources(str(folder()), stamp())


@st.cache_data(max_entries=8, show_spinner=False)
def _sets(path: str, stamp: str) -> dict[str, int]:
    with workspace().database.reading() as connection:
        return places_of_rows.sets(connection)


def sets() -> dict[str, int]:
    """Count the rows of every set that no stage has dropped, in the order in which sets came."""
    return _sets(str(folder()), stamp())


@st.cache_data(max_entries=8, show_spinner=False)
def _round_report(path: str, id: str, stamp: tuple[Any, ...]) -> RoundReport:
    return evolution_report.round_report(workspace(), id)


def round_report(id: str) -> RoundReport:
    """Give the rounds of an evolution, measured."""
    with workspace().database.reading() as connection:
        now = evolutions.stamp(connection, id)
    return _round_report(str(folder()), id, now)


def choose_evolution(found: Sequence[Any]) -> Any:
    """Ask which evolution is looked at, where there are more than one. The newest is the default."""
    by_id = {one.id: one for one in found}
    if len(found) == 1:
        return found[0]
    names = {
        one.id: f"{one.name} · {one.parents or 'all samples'} · {one.model}"
        if one.kind == evolutions.EVOLVED
        else f"{one.parents} · imported"
        for one in found
    }
    chosen = choose("Evolution", "evolution", list(by_id), lambda id: f"{names[id]} · {id[:8]}", found[0].id)
    return by_id[chosen]


@st.cache_data(max_entries=8, show_spinner=False)
def _pace(path: str, stamp: str) -> tuple[float, bool]:
    return review_pace.pace(workspace())


def pace() -> tuple[float, bool]:
    """Give the seconds a gray case takes this team, and whether that was measured."""
    return _pace(str(folder()), stamp())


@st.cache_resource(max_entries=2, show_spinner=False)
def _insights(path: str, run_id: int) -> InsightBrowser | None:
    return InsightBrowser.open(workspace())


def insight_browser() -> InsightBrowser | None:
    """Give what the insights measured; None when they never ran. Raises DamagedWorkspace."""
    run = runs.current(workspace().database, "insights")
    return None if run is None else _insights(str(folder()), run.id)


@st.cache_data(max_entries=4, show_spinner=False)
def _newest_is_current(path: str, stamp: str) -> bool | None:
    names = versions.names(workspace().database)
    return assemble.is_current(workspace(), names[-1]) if names else None


def newest_version_is_current() -> bool | None:
    """Say whether the newest version holds the rows as they are; None when there is no version."""
    return _newest_is_current(str(folder()), stamp())


def menu_counts() -> tuple[int, int, int, int]:
    """Count what the menu shows: seeds, samples, open questions, jobs that wait or run."""
    db = workspace().database
    questions = review_counts()
    active = len(jobs.active(folder()))
    return count_seeds(), samples.count(db), questions["open"] + questions["disputed"], active


def count_seeds() -> int:
    return seeds.count(workspace().database)


def count_runs() -> int:
    """Count the training runs, for the menu."""
    return sum(1 for _ in (folder() / "runs").glob(f"*/{training_runs.SETTINGS}"))


def newest_version_is_trained() -> bool:
    """Say whether a run of the newest version exists, whatever came of it.

    Yes when a run's folder is damaged: that is told on the page of runs, and must not hide the overview.
    """
    names = versions.names(workspace().database)
    try:
        found = training_runs.runs(workspace())
    except WrongInput:
        return True
    return bool(names) and any(run.frozen.get("version") == names[-1] for run in found)


def measured(run: LoraRun) -> list[dict[str, Any]]:
    """Give what a run measured, read anew only when its file grew: a list of runs reads all of them."""
    try:
        there = (run.folder / training_runs.MEASUREMENTS).stat()
    except FileNotFoundError:
        return []
    return _measured(str(run.folder), there.st_mtime_ns, there.st_size)


@st.cache_data(max_entries=64, show_spinner=False)
def _measured(path: str, changed: int, size: int) -> list[dict[str, Any]]:
    return LoraRun(Path(path)).measurements()


# --- text ----------------------------------------------------------------------------------------

# Streamlit makes links of bare addresses even when their signs are escaped; a word joiner inside stops that.
BARE_LINK = re.compile(r"https?(?=://)|www(?=\.)|@", re.IGNORECASE)
ESCAPES = {ord(sign): f"\\{sign}" for sign in string.punctuation}


def plain(text: object) -> str:
    """Give a text that a label, caption or message shows letter by letter, whatever signs are in it.

    Every ASCII punctuation sign is escaped (CommonMark allows that for all of them), which also stops
    Streamlit's own signs ($, :colour[], :material/x:) and bare links; line ends become spaces.
    """
    words = " ".join(revealed(str(text)).split())
    return BARE_LINK.sub("\\g<0>\u2060", words).translate(ESCAPES)


def rough(value: float) -> str:
    """Say a large number as people say it: 950, 12.3 K, 1.24 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " K")):
        if abs(value) >= size:
            scaled = value / (1e3 if unit == " K" else size)
            return f"{scaled:.3g}{unit}" if scaled < 1000 else f"{scaled:,.0f}{unit}"
    return f"{value:,.0f}"


def number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def count_of(value: int, one: str, many: str | None = None) -> str:
    """Say a number with its noun: 1 row, 2 rows."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


SHOWN = 100_000  # characters of one text on a screen: a row may hold a megabyte, a browser is not made for it


def show_text(text: str, language: str | None = None, height: int | None = None) -> None:
    """Show text of a stranger as text. Characters that cannot be seen are counted and made visible."""
    if len(text) > SHOWN:
        st.caption(f"The first {SHOWN:,} of {len(text):,} characters; an export holds all of them.")
        text = text[:SHOWN]
    hidden = hidden_in(text)
    if hidden:
        found = ", ".join(f"{name} x{times}" for name, times in hidden.items())
        st.badge(
            f"hidden characters: {found}".replace("+", "\\+"), icon=":material/visibility_off:", color="red"
        )
        text = revealed(text)
    long = height is not None and (text.count("\n") > height // 24 or len(text) > height * 4)
    st.code(text or " ", language=language, wrap_lines=True, height=height if long else "content")


def show_line(text: object) -> None:
    """Show a short text of a stranger (a name, a note, a path) as text, hidden characters made visible."""
    st.text(revealed(str(text)))


def show_data(value: Any, expanded: bool = True) -> None:
    """Show what JSON can say, with the hidden characters of its texts made visible."""
    st.json(json.loads(revealed(json.dumps(value, ensure_ascii=False))), expanded=expanded)


def frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Make a table for `st.dataframe`: its texts with every hidden character made visible."""
    return pd.DataFrame(
        {
            name: [revealed(value) if isinstance(value, str) else value for value in values]
            for name, values in columns.items()
        }
    )


# --- errors for people ---------------------------------------------------------------------------


def say_error(error: Exception) -> None:
    """Show what went wrong in one line; details of what nobody expected go to the log only."""
    if isinstance(error, CurationError):
        st.error(plain(error), icon=":material/error:")
        return
    if isinstance(error, OSError) and error.strerror:
        where = f" ({str(error.filename)[:200]})" if error.filename else ""
        st.error(
            plain(f"{error.strerror}{where}; nothing that was saved is lost. Mend it and try again."),
            icon=":material/error:",
        )
        return
    log.error("unexpected", exc_info=error)
    where = plain(folder() / "logs" / "app.log")
    st.error(
        f"Something unexpected went wrong ({plain(type(error).__name__)}). Nothing that was saved is lost; "
        f"the details are in {where}. Reload the page to go on.",
        icon=":material/error:",
    )


@contextmanager
def readable_errors() -> Iterator[None]:
    """Show errors raised inside as messages, not as tracebacks."""
    try:
        yield
    except Exception as error:
        say_error(error)


def act(action: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Do what a button asks for (a callback). What it raises is kept and shown when the page is drawn."""
    try:
        return action(*arguments, **named)
    except Exception as error:
        st.session_state["ui_error"] = error
        return None


def show_waiting_messages() -> None:
    """Show what callbacks left to say."""
    error = st.session_state.pop("ui_error", None)
    if error is not None:
        say_error(error)
    for message in st.session_state.pop("ui_toasts", []):
        st.toast(message)


def toast(message: str) -> None:
    """Say a short thing at the next drawing of the page. The message must be ours, or `plain`."""
    st.session_state.setdefault("ui_toasts", []).append(message)


# --- moving between pages ------------------------------------------------------------------------


def link(page: str, label: str, icon: str | None = None, help: str | None = None, **query: str) -> None:
    """Show a link to a page of ours with its filters in the address."""
    st.page_link(PAGES[page], label=label, icon=icon, help=help, query_params=query or None)


def last_job(step: str) -> "jobs.Job | None":
    """Give the newest job of a step, however it ended."""
    return next((job for job in jobs.jobs(folder(), limit=30) if job.step == step), None)


def question_link(reference: str) -> None:
    """Link to one question (ID@VERSION), settled or not."""
    link("review", "Open the question", icon=":material/rate_review:", item=reference.split("@")[0], look="1")


def go(page: str, **query: str) -> None:
    """Open a page of ours with its filters in the address."""
    st.switch_page(PAGES[page], query_params=query or None)


# Filters live in the address, so that a view can be sent to a colleague and survives a reload.


def clicked_row(event: Any) -> int | None:
    """Give the number of the row of a table that was clicked; None: none was."""
    cells = event["selection"]["cells"]
    return cells[0][0] if cells else None


def turn_pages(name: str, told: str, before: str | None, after: str | None, clear: Sequence[str]) -> None:
    """Show what is told of a page of rows (our words) and the buttons to the pages beside it.

    `before` and `after` are the keys of those pages (None: there is none), parameters of the address.
    """
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(told)
        st.space("stretch")
        for parameter, to, label, key in (
            ("before", before, "Previous", "Left"),
            ("after", after, "Next", "Right"),
        ):
            st.button(
                label,
                key=f"{name}_{label.lower()}",
                icon=f":material/chevron_{key.lower()}:",
                icon_position="left" if key == "Left" else "right",
                disabled=to is None,
                shortcut=key,
                on_click=set_query,
                args=(clear,),
                kwargs={parameter: to},
            )


def clear_filters(name: str) -> None:
    """Show the button that takes every filter away."""
    st.button(
        "Clear all filters",
        key=f"{name}_clear",
        type="tertiary",
        icon=":material/filter_alt_off:",
        on_click=st.query_params.clear,
    )


def table_key(name: str, ids: Sequence[object]) -> str:
    """Give the key of a table of these rows: other rows are another table, so that no tick or click of the
    ones before counts for them. Moving on by other means (`moved`) makes it new, too: then a row can be
    clicked that was clicked before."""
    shown = sha256(repr([*ids, st.session_state.get(f"{name}_moves", 0)]).encode()).hexdigest()[:16]
    return f"{name}_{shown}"


def moved(name: str, **query: str | None) -> None:
    """Open another row of a table than by a click (a callback)."""
    st.session_state[f"{name}_moves"] = st.session_state.get(f"{name}_moves", 0) + 1
    set_query(**query)


def open_clicked(key: str, parameter: str, ids: Sequence[object]) -> None:
    """Open the row whose cell was clicked (a callback of the table with this key)."""
    clicked = clicked_row(st.session_state[key])
    if clicked is not None and clicked < len(ids):
        set_query(**{parameter: str(ids[clicked])})


def open_row(rows: int) -> int:
    """Give the number of the row of a table whose evidence is open, by the address; the first without one."""
    asked = st.query_params.get("open", "0")
    return min(int(asked), rows - 1) if asked.isdecimal() and len(asked) < 10 else 0


def keep_open_row(event: Any) -> None:
    """Keep the row that was clicked in the address, so that a reload shows the same."""
    clicked = clicked_row(event)
    if clicked is not None and str(clicked) != st.query_params.get("open", "0"):
        set_query(open=str(clicked))
        st.rerun()


def set_query(clear: Sequence[str] = (), **values: str | None) -> None:
    """Change the address in one step, which is one step of the browser's Back: None or "" takes a parameter
    out."""
    before = st.query_params.to_dict()
    kept = {name: value for name, value in before.items() if name not in clear}
    after = {name: value for name, value in {**kept, **values}.items() if value}
    if after != before:
        st.query_params.from_dict(after)


def _from_widget(key: str, parameter: str, clear: Sequence[str], default: str) -> None:
    value = st.session_state[key]
    set_query(clear, **{parameter: None if value in (None, default) else str(value)})


def _to_widget(parameter: str, allowed: Sequence[str] | None, default: str) -> str:
    """Let the widget show what the address says; an unknown value falls back to the default."""
    asked = st.query_params.get(parameter, default)
    key = f"query_{parameter}"
    st.session_state[key] = asked if allowed is None or asked in allowed else default
    return key


def choose(
    label: str,
    parameter: str,
    options: Sequence[str],
    shown: Callable[[str], str] = str,
    default: str = "",
    clear: Sequence[str] = (),
    help: str | None = None,
) -> str:
    """Show a select box whose value is a parameter of the address. Its options are text, never markup."""
    key = _to_widget(parameter, options, default)
    return str(
        st.selectbox(
            label,
            options,
            key=key,
            format_func=lambda value: revealed(shown(value)),
            on_change=_from_widget,
            help=help,
            args=(key, parameter, clear, default),
        )
    )


def type_in(
    label: str,
    parameter: str,
    placeholder: str = "",
    clear: Sequence[str] = (),
    help: str | None = None,
    max_chars: int = 300,
) -> str:
    """Show a text box whose value is a parameter of the address."""
    key = _to_widget(parameter, None, "")
    st.session_state[key] = st.session_state[key][:max_chars]
    return str(
        st.text_input(
            label,
            key=key,
            placeholder=placeholder,
            on_change=_from_widget,
            help=help,
            max_chars=max_chars,
            args=(key, parameter, clear, ""),
        )
        or ""
    )


def switch(
    label: str,
    parameter: str,
    options: Sequence[str],
    clear: Sequence[str] = (),
    hide_label: bool = True,
    shown: Callable[[str], str] = str,
    help: str | None = None,
) -> str:
    """Show a row of choices (all ours), a parameter of the address; the first is the default."""
    key = _to_widget(parameter, options, options[0])
    chosen = st.segmented_control(
        label,
        options,
        key=key,
        required=True,
        on_change=_from_widget,
        label_visibility="collapsed" if hide_label else "visible",
        format_func=shown,
        help=help,
        args=(key, parameter, clear, options[0]),
    )
    return str(chosen)


def heading(title: str, caption: str) -> None:
    """Begin a page: where one is, and what is done here. Both texts are ours."""
    st.title(title, anchor=False)
    st.caption(caption)
    show_waiting_messages()


def empty(what: str, page: str, label: str) -> None:
    """Say why a page is empty and what to do about it."""
    with st.container(border=True):
        st.markdown(what)
        link(page, label, icon=":material/arrow_forward:")


def stale_note(stage: Mapping[str, Any]) -> None:
    """Say that a stage's input changed since it ran."""
    if stage.get("stale"):
        rows = count_of(stage["stale"], "row")
        st.warning(
            f"Stale: {rows} changed since this stage ran. Run it again below.", icon=":material/update:"
        )


def show_counts(stage: Mapping[str, Any]) -> None:
    """Show that rows in = kept + dropped + pending."""
    columns = st.columns(4)
    for column, name in zip(columns, ("in", "kept", "dropped", "pending"), strict=True):
        column.metric(f"Rows {name}" if name == "in" else name.capitalize(), f"{stage[name]:,}", border=True)


def show_reasons(stage: Mapping[str, Any]) -> None:
    """List why rows were dropped, each reason a link to its rows."""
    if not stage["reasons"]:
        st.markdown("No row was dropped.")
        return
    st.markdown("**Why rows were dropped**: each line opens its rows, and each row can be put back.")
    for reason, rows in sorted(stage["reasons"].items(), key=lambda one: -one[1]):
        words = plain(reason.replace("_", " "))
        link(
            "samples",
            f"{rows:,} {words}",
            icon=":material/filter_list:",
            place="dropped",
            stage=stage["stage"],
            reason=reason,
        )


def person() -> str:
    """Name who is judging: set on the review page, kept in the address; `me` when nobody said."""
    return str(st.session_state.get("person") or st.query_params.get("as") or "me")[:60]


# --- jobs ----------------------------------------------------------------------------------------

STATE_BADGES = {
    "queued": ("blue", ":material/schedule:"),
    "running": ("blue", ":material/play_circle:"),
    "interrupted": ("orange", ":material/restart_alt:"),
    "cancelling": ("orange", ":material/hourglass:"),
    "done": ("green", ":material/check_circle:"),
    "failed": ("red", ":material/error:"),
    "cancelled": ("gray", ":material/cancel:"),
}
LIVE = ("queued", "running", "interrupted", "cancelling")


def start(step: str, settings: Mapping[str, Any]) -> None:
    """Start a job from a button; pressing twice starts one."""
    act(jobs.start, folder(), step, dict(settings))


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def since(moment: datetime | None) -> float | None:
    return None if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds())


def show_jobs_of(steps: Sequence[str], idle: Callable[[], None] | None = None) -> bool:
    """Show the queued or running jobs of some steps, renewed every second; draw the page again at their end.

    Gives whether there is one. A failed newest job is shown until another one is started.
    """
    mine = [job for job in jobs.jobs(folder(), limit=30) if job.step in steps]
    live = [job for job in mine if job.state in LIVE]
    if live:
        _watch([job.id for job in live])
    elif mine and mine[0].state in ("failed", "cancelled"):
        draw_job(mine[0])
    elif idle is not None:
        idle()
    return bool(live)


@st.fragment(run_every=POLL_SECONDS)
def _watch(ids: Sequence[str]) -> None:
    with readable_errors():
        found = [jobs.job(folder(), id) for id in ids]
        if not any(job is not None and job.state in LIVE for job in found):
            st.rerun()  # the whole page: now with the results, and without the timer
        for job in found:
            if job is not None:
                draw_job(job)


@st.fragment(run_every=3.0)
def notice_new_jobs() -> None:
    """Draw the page again when a job was started elsewhere: another tab or the terminal."""
    with readable_errors():
        if any(job.state in LIVE for job in jobs.active(folder())):
            st.rerun()


def draw_job(job: "jobs.Job", may_resume: bool = True) -> None:
    """Show one job: what it does, how far it is, what it needs, and what can be done about it."""
    color, icon = STATE_BADGES[job.state]
    with st.container(border=True, key=f"job-{job.id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(job.title)}**", width="content")
            st.badge(job.state, icon=icon, color=color)  # type: ignore[arg-type]
            st.space("stretch")
            _job_buttons(job, may_resume)
        _job_progress(job)
        if job.message:
            show = st.error if job.state == "failed" else st.caption
            show(plain(job.message))


def _job_buttons(job: "jobs.Job", may_resume: bool) -> None:
    if job.state in ("queued", "running", "interrupted"):
        st.button(
            "Cancel",
            key=f"cancel-{job.id}",
            on_click=act,
            args=(jobs.cancel, folder(), job.id),
            help="What is finished is kept; Resume goes on from there.",
        )
    if may_resume and job.state in ("cancelled", "failed"):
        st.button(
            "Resume",
            key=f"resume-{job.id}",
            on_click=act,
            args=(jobs.resume, folder(), job.id),
            type="primary",
            help="Goes on where it stopped; nothing finished is done again.",
        )


def _job_progress(job: "jobs.Job") -> None:
    if job.state == "interrupted":
        st.caption(
            "Its process ended before the job did. A new one takes over by itself and goes on where it was."
        )
    if job.state == "queued":
        waits = any(one.id != job.id and one.state != "queued" for one in jobs.active(folder()))
        told = "Waits for the one before it: one curation job and one training run at a time."
        st.caption(told if waits else "Begins in a moment.")
    if job.state in ("done", "failed", "cancelled") and job.started_at and job.finished_at:
        st.caption(f"took {duration((job.finished_at - job.started_at).total_seconds())}")
    if job.state not in ("running", "cancelling", "interrupted") or job.what is None:
        return
    if job.total:
        share = min(1.0, (job.done or 0) / job.total)
        st.progress(share, text=f"{plain(job.what)}: {job.done or 0:,} of {job.total:,}")
    else:
        st.progress(0.0, text=plain(job.what) + (f": {job.done:,}" if job.done else ""))
    took = duration(since(job.started_at))  # said of a job that nobody works on, too: then not as running
    facts = [f"running for {took}" if job.state == "running" else f"began {took} ago"]
    if job.rate:
        facts.append(f"{job.rate:,.1f} a second")
    if job.seconds_left is not None:
        facts.append(f"about {duration(job.seconds_left)} left in this step")
    st.caption(" · ".join(facts))


# --- keys of teachers ----------------------------------------------------------------------------


def hold_key(widget: str, base_url: str) -> None:
    """Take a key out of a text box into this process's memory (a callback); the box is empty again."""
    typed = st.session_state.get(widget, "")
    st.session_state[widget] = ""
    if typed.strip():
        act(_hold_key, typed.strip(), base_url)


def _hold_key(key: str, base_url: str) -> None:
    endpoint = read_endpoint(base_url) if base_url else default_endpoint()
    jobs.ring_of_process().hold(endpoint.origin, key)
    toast(plain(f"The key for {endpoint.origin} is in memory until the app ends"))


def forget_key(origin: str) -> None:
    """Take a key out of memory (a callback)."""
    jobs.ring_of_process().forget(origin)


def key_note(base_url: str) -> None:
    """Say whether there is a key for an endpoint, and whose it is."""
    try:
        endpoint = read_endpoint(base_url) if base_url else default_endpoint()
    except CurationError as error:
        say_error(error)
        return
    if jobs.ring_of_process().key_for(endpoint) is None:
        st.caption(plain(f"No key for {endpoint.origin}."))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(plain(f"A key for {endpoint.origin} is in memory."))
        st.button(
            "Forget it", key="key_forget", type="tertiary", on_click=forget_key, args=(endpoint.origin,)
        )


# --- training runs -------------------------------------------------------------------------------

RUN_BADGES = {
    "queued": ("blue", ":material/schedule:"),
    "starting": ("blue", ":material/hourglass:"),
    "running": ("blue", ":material/play_circle:"),
    "stopping": ("orange", ":material/hourglass:"),
    "interrupted": ("orange", ":material/restart_alt:"),
    "waiting": ("orange", ":material/pause_circle:"),
    "finished": ("green", ":material/check_circle:"),
    "stopped": ("gray", ":material/stop_circle:"),
    "cancelled": ("gray", ":material/cancel:"),
    "discarded": ("gray", ":material/delete:"),
    "failed": ("red", ":material/error:"),
}


def jobs_of_runs() -> "dict[str, jobs.Job]":
    """Give the newest job of each run, by the run's name."""
    found: dict[str, jobs.Job] = {}
    # A run may go on for so long that many newer jobs come and go: those that are active are asked for, too.
    for job in [*jobs.jobs(folder(), limit=50), *jobs.active(folder())]:
        if job.step == "train":
            found.setdefault(str(job.settings.get("run")), job)
    return found


def state_of_run(run: LoraRun, job: "jobs.Job | None") -> str:
    """Tell the state of a run by its folder and its newest job (see `run_report.shown_state`)."""
    return shown_state(run, None if job is None else job.state)


def training_queue() -> "list[jobs.Job]":
    """Give what trains now or waits for it, the oldest first: one at a time."""
    return [job for job in jobs.active(folder()) if job.step in ("train", "practice-base")]


def run_badge(state: str, ahead: int = 0) -> None:
    """Show a run's state; of a queued one also how many are before it."""
    color, icon = RUN_BADGES[state]
    label = f"queued, {count_of(ahead, 'run')} ahead" if state == "queued" and ahead else state
    st.badge(label, icon=icon, color=color)  # type: ignore[arg-type]


def show_fact(label: str, value: str, more: str = "") -> None:
    """Show a number with its name above and what it means below. The texts may be anybody's."""
    with st.container(gap=None):
        st.caption(plain(label))
        st.markdown(f"#### {plain(value)}")
        if more:
            st.caption(plain(more))


# --- asking a teacher ----------------------------------------------------------------------------

DEAREST = 1e5  # price of a million tokens that can be entered
LOCAL = (
    "A teacher of your own: `transformers serve MODEL`, then http://localhost:8000/v1; vLLM, Ollama "
    "and others speak the same language."
)


def ask_connection(key: str, before: Any = None) -> dict[str, Any]:
    """Ask for endpoint, model and key of a teacher; what `before` (a generation) used stands there."""
    left, middle, right = st.columns([1.5, 1, 1])
    with left:
        base_url = st.text_input(
            "Endpoint",
            value=(before and before.endpoint) or os.environ.get("OPENAI_BASE_URL", ""),
            placeholder="https://api.openai.com/v1",
            key=f"{key}_url",
            max_chars=2_000,
            help="Any OpenAI-compatible address. " + LOCAL,
        ).strip()
    with middle:
        model = st.text_input(
            "Model",
            value=(before and before.model) or os.environ.get("OPENAI_MODEL", ""),
            placeholder="as the endpoint calls it",
            key=f"{key}_model",
            max_chars=200,
        ).strip()
    with right:
        st.text_input(
            "API key",
            type="password",
            key=f"{key}_key",
            on_change=hold_key,
            args=(f"{key}_key", base_url),
            help="Kept in this app's memory, sent to this endpoint's host and to no other, gone when the app "
            "ends.",
            placeholder="none needed" if not base_url else "",
            max_chars=4_000,
        )
        key_note(base_url)
    return {"base_url": base_url, "model": model}


def ask_budget(key: str, before: Any = None) -> dict[str, Any]:
    """Ask what a teacher may take: tokens, and money where prices are entered."""
    columns = st.columns(4)
    tokens = columns[0].number_input(
        "Token budget",
        1_000,
        10**12,
        TOKENS,
        50_000,
        key=f"{key}_tokens",
        help="Tokens in and out of this generation in all. Each call's worst case is set aside before it "
        "is sent, so it is never passed: the run pauses and can go on.",
    )
    prices = [
        column.number_input(
            f"Price of 1M tokens {way}",
            0.0,
            DEAREST,
            _price_before(before, way),
            key=f"{key}_price_{way}",
            placeholder="not entered",
            format="%.4f",
        )
        for column, way in zip(columns[1:3], ("in", "out"), strict=True)
    ]
    money = columns[3].number_input(
        "Money budget",
        0.0,
        1e9,
        None,
        key=f"{key}_money",
        disabled=None in prices,
        placeholder="needs both prices",
    )
    told: dict[str, Any] = {"budget_tokens": int(tokens)}
    if None not in prices:
        told |= {"price_in": prices[0], "price_out": prices[1]} | ({"budget_money": money} if money else {})
    return told


def _price_before(before: Any, way: str) -> float | None:
    """Give the price of the last time, as endpoint and model stand there: else a reload takes money away."""
    price = before.settings.get(f"price_{way}") if before else None
    return min(float(price), DEAREST) if price is not None else None


# --- facets and code -----------------------------------------------------------------------------


def _component(name: str) -> Any:
    """Make a component of ours out of its two files: it sets text and never parses any."""
    css, js = ((ROOT / "components" / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return st.components.v2.component(f"winnow_{name}", css=css, js=js)


_FACETS, _CODE, _HISTOGRAMS, _BAND = map(_component, ("facets", "code", "histograms", "band"))
FACET_ROWS = 8  # values of a facet that are shown at first
FACET_MOST = 200  # that can be unfolded; the rest is only counted
_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})", re.ASCII)


def facet(
    field: str,
    label: str,
    counts: Mapping[str, int],
    chosen: str | None,
    shown: Callable[[str], str] = str,
    rows: int = FACET_ROWS,
) -> dict[str, Any]:
    """Describe a facet: a bar for each value, the most rows first. `field` is a parameter of the address."""
    values = list(counts.items())[:FACET_MOST]
    if chosen and chosen not in dict(values):
        values.append((chosen, counts.get(chosen, 0)))
    most = max((number for _, number in values), default=1) or 1
    more = len(counts) - len(values)
    return {
        "field": field,
        "label": label,
        "bars": [
            _bar(value, shown(value), number, most, value == chosen, f"{shown(value)}: {number:,}")
            for value, number in values
        ],
        "shown": rows,
        "more": f"and {len(counts) - rows:,} more" if len(counts) > rows else "",
        "rest": f"and {more:,} more: search for them" if more > 0 else "",
    }


def histogram(
    field: str, label: str, bars: Sequence[Any], chosen: tuple[int, int] | None, noun: str
) -> dict[str, Any]:
    """Describe a histogram of `facts.Bar`s: each filters by its range, with the shift key up to it."""
    most = max((bar.rows for bar in bars), default=1) or 1
    found = []
    for bar in bars:
        is_in = chosen is not None and chosen[0] <= bar.high and bar.low <= chosen[1]
        span = str(bar.low) if bar.low == bar.high else f"{bar.low}-{bar.high}"
        short = span if bar.low == bar.high else f"{bar.low}…"
        one = _bar(f"{bar.low}-{bar.high}", short, bar.rows, most, is_in, f"{span} {noun}: {bar.rows:,}")
        found.append({**one, "outside": chosen is not None and not is_in})
    return {
        "field": field,
        "label": label,
        "bars": found,
        "upright": True,
        "more": "Shift-click: up to there",
    }


def _bar(value: str, label: str, rows: int, most: int, is_chosen: bool, title: str) -> dict[str, Any]:
    return {
        "value": value,
        "label": revealed(label),
        "rows": f"{rows:,}",
        "share": rows / most,
        "chosen": is_chosen,
        "title": revealed(title),
    }


def range_of(text: str | None) -> tuple[int, int] | None:
    """Read a range out of the address; None when it is none."""
    found = _RANGE.fullmatch(text or "")
    return (int(found[1]), int(found[2])) if found and int(found[1]) <= int(found[2]) else None


def show_facets(described: Sequence[Mapping[str, Any]], key: str, clear: Sequence[str] = ()) -> None:
    """Show facets; a press on a bar filters by it, a second one takes the filter away."""
    _FACETS(data={"facets": list(described)}, key=key, on_pick_change=lambda: _pick(key, clear))


def _pick(key: str, clear: Sequence[str]) -> None:
    picked = st.session_state[key].pick
    if not picked:
        return
    field, value = str(picked["field"]), str(picked["value"])
    known, pressed = range_of(st.query_params.get(field)), range_of(value)
    if picked["extend"] and known and pressed:
        value = f"{min(known[0], pressed[0])}-{max(known[1], pressed[1])}"
    elif picked["chosen"] and (pressed is None or pressed == known):
        value = ""
    set_query(clear, **{field: value})


def panel(
    title: str,
    note: str,
    bars: Sequence[Mapping[str, Any]],
    ticks: Sequence[tuple[float, str]],
    lines: Sequence[tuple[float, str, str]] = (),
    height: int = 80,
) -> dict[str, Any]:
    """Describe a histogram of `panel_bar`s. Places on its axis go from 0 to 1.

    `ticks`: place and label. `lines`: place, kind ("mean" or "published") and label; labels stand one below
    the other above the bars, so that near ones can be read.
    """
    labelled = [label for _, _, label in lines if label]
    above = 13 * len(labelled) + 2 if labelled else 0
    return {
        "title": revealed(title),
        "note": revealed(note),
        "bars": list(bars),
        "ticks": [{"at": at, "label": label} for at, label in ticks],
        "marks": [
            {"at": at, "kind": kind, "label": label, "top": 13 * labelled.index(label) if label else above}
            for at, kind, label in lines
        ],
        "height": height + above,
        "above": above,
    }


def panel_bar(
    query: Mapping[str, str], rows: int, share: float, chosen: bool, outside: bool, title: str
) -> dict[str, Any]:
    """Describe a bar, `share` of the panel high: a press puts its query into the address, a second one takes
    it out."""
    return {
        "query": dict(query),
        "rows": rows,
        "share": share,
        "chosen": chosen,
        "outside": outside,
        "title": revealed(title),
    }


def show_histograms(
    panels: Sequence[Mapping[str, Any]], key: str, columns: int = 1, clear: Sequence[str] = ()
) -> None:
    """Show panels; a press on a bar filters by it, with the shift key up to it."""
    fields = {name for one in panels for bar in one["bars"] for name in bar["query"]}
    _HISTOGRAMS(
        data={"panels": list(panels), "columns": columns},
        key=key,
        on_pick_change=lambda: _pick_bar(key, fields, clear),
    )


def _pick_bar(key: str, fields: set[str], clear: Sequence[str]) -> None:
    picked = st.session_state[key].pick
    if not picked:
        return
    query = {name: str(value) for name, value in dict(picked["query"]).items() if name in fields}
    if picked["chosen"] and not picked["extend"]:
        set_query(clear, **dict.fromkeys(query, ""))
        return
    ranges = {name for name, value in query.items() if range_of(value)}
    same = all(st.query_params.get(name) == value for name, value in query.items() if name not in ranges)
    for name in ranges if picked["extend"] and same else ():
        known, pressed = range_of(st.query_params.get(name)), range_of(query[name])
        if known and pressed:
            query[name] = f"{min(known[0], pressed[0])}-{max(known[1], pressed[1])}"
    set_query(clear, **query)


def band(
    data: Mapping[str, Any], key: str, moved: Callable[[int, int], None], picked: Callable[[int], None]
) -> None:
    """Show the pairs at each cosine with two handles; both callbacks get steps."""

    def _moved() -> None:
        said = st.session_state[key].move
        if said:
            moved(int(said["low"]), int(said["high"]))

    def _picked() -> None:
        said = st.session_state[key].bin
        if said:
            picked(int(said["step"]))

    fixed = {name: value for name, value in data.items() if name not in ("low", "high")}
    shown = sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    _BAND(data={**data, "shown": shown}, key=key, on_move_change=_moved, on_bin_change=_picked)


def code_card(
    title: str, note: str, lines: Sequence[str], first: int, span: tuple[int, int]
) -> dict[str, Any]:
    """Describe lines of code, the first of them numbered `first`; those of `span` stand out."""
    return {
        "title": revealed(title),
        "note": revealed(note),
        "lines": [revealed(line) for line in lines],
        "first": first,
        "from": span[0],
        "to": span[1],
    }


def show_code(cards: Sequence[Mapping[str, Any]], key: str, columns: int = 1, height: int = 0) -> None:
    """Show cards of code, as text. Each has `height` pixels (0: as many as its lines take)."""
    item = sha256(json.dumps([cards, columns, height]).encode()).hexdigest()
    _CODE(data={"cards": list(cards), "columns": columns, "height": height, "item": item}, key=key)


# --- two texts side by side ----------------------------------------------------------------------

EDGES = re.compile(r"(^\s+|\s+$|\s*\n\s*)")  # white space that a mark leaves out
_COMPARE = _component("compare")


def side(
    title: str, note: str, parts: Sequence[tuple[str, Sequence[Span]]], mark: str = "own"
) -> dict[str, Any]:
    """Describe one side of `compare`: parts are (label, spans); what is not shared is marked.

    With mark="mark" it is the other way round: the shared stretch is marked (text met in a benchmark).
    """

    def pieces(spans: Sequence[Span]) -> Iterator[list[str]]:
        for span in spans:
            is_marked = span.shared if mark == "mark" else not span.shared
            if not is_marked or span.text.isspace():
                yield [revealed(span.text), ""]
                continue
            # White space around words and at line ends stays unmarked: coloured indentation would drown them.
            for text in EDGES.split(span.text):
                if text:
                    yield [revealed(text), "" if text.isspace() else mark]

    return {
        "title": title,
        "note": revealed(note),
        "parts": [{"label": label, "spans": list(pieces(spans))} for label, spans in parts],
    }


def compare_rows(left: Any, right: Any, titles: tuple[str, str], item: str, is_marked: bool = True) -> None:
    """Show two rows beside each other; words that only one of them has are marked, unless nearly all are."""
    told = word_diff if is_marked else lambda one, other: ([Span(one, True)], [Span(other, True)])
    parts = [
        (label, told(getattr(left, name)[:SHOWN], getattr(right, name)[:SHOWN]))
        for label, name in (("Problem", "instruction"), ("Input", "input"), ("Solution", "response"))
        if getattr(left, name) or getattr(right, name)
    ]
    compare(
        side(titles[0], _about(left), [(label, both[0]) for label, both in parts]),
        side(titles[1], _about(right), [(label, both[1]) for label, both in parts]),
        item,
    )


def _about(row: Any) -> str:
    return f"{row.name} · {row.source} · response of {len(row.response):,} characters"


def compare_with_task(row: Any, task: Any, hits: Sequence[Mapping[str, Any]], item: str) -> None:
    """Show a row beside the benchmark task it resembles: shared strings marked, else what differs."""
    question = question_of(row.instruction, row.input)[:SHOWN]
    if hits:
        mark = "mark"
        spans = {
            field: _marked(text, [h["span"] for h in hits if h["field"] == field])
            for field, text in (("question", question), ("response", row.response[:SHOWN]))
        }
        met = {str(h["matched"]) for h in hits}
        pairs = [
            ("Problem", (spans["question"], _found_in(task.problem, met))),
            ("Solution", (spans["response"], _found_in(task.solution, met))),
        ]
    else:
        mark = "own"
        pairs = [
            ("Problem", word_diff(question, task.problem)),
            ("Solution", word_diff(row.response[:SHOWN], task.solution)),
        ]
    compare(
        side("Row", _about(row), [(label, both[0]) for label, both in pairs], mark),
        side(
            "Benchmark task",
            f"{task.benchmark} · {task.item}",
            [(label, both[1]) for label, both in pairs],
            mark,
        ),
        item,
    )


def compare_with_seed(
    seed: str, about: str, parts: Sequence[tuple[str, str]], blocks: Sequence[Sequence[tuple[int, int, int]]],
    note: str, item: str,
) -> None:  # fmt: skip
    """Show a seed beside what a teacher made of it; what of the seed stands there again is marked.

    `parts`: label and text; `blocks`: of each, (start in the seed, start in the text, characters).
    """
    in_seed = [(a, a + size) for found in blocks for a, _, size in found]
    made = [
        (label, _marked(text[:SHOWN], [(b, b + size) for _, b, size in found]))
        for (label, text), found in zip(parts, blocks, strict=True)
    ]
    left = side("Seed", about, [("Snippet", _marked(seed[:SHOWN], in_seed))], "mark")
    compare(left, side("Made of it", note, made, "mark"), item)


def _marked(text: str, stretches: Sequence[Sequence[int]]) -> list[Span]:
    """Split a text into marked and unmarked pieces; stretches may overlap."""
    spans: list[Span] = []
    at = 0
    for start, end in sorted((int(a), int(b)) for a, b in stretches):
        if end <= at:
            continue
        spans += [Span(text[at : max(at, start)], False), Span(text[max(at, start) : end], True)]
        at = end
    return [span for span in [*spans, Span(text[at:], False)] if span.text]


def _found_in(text: str, wanted: set[str]) -> list[Span]:
    """Mark the first place of each string in a text."""
    return _marked(
        text, [(text.find(one), text.find(one) + len(one)) for one in wanted if one and one in text]
    )


def compare(left: Mapping[str, Any], right: Mapping[str, Any], item: str) -> None:
    """Show two sides beside each other. `item` names what is shown, for tests that watch the screen."""
    _COMPARE(data={"sides": [left, right], "item": item}, key="compare")


def compare_many(sides: Sequence[Mapping[str, Any]], item: str) -> None:
    """Show texts beside each other, three in a row."""
    _COMPARE(data={"sides": list(sides), "item": item}, key=f"compare-{item}")
