"""Insights: how near rows are to a benchmark, how long, of which kind; every bar opens its rows."""

import os
from collections.abc import Sequence
from typing import Any

import streamlit as st

import ui
from curation.benchmarks import KNOWN, PYSTDLIB
from curation.errors import DamagedWorkspace
from curation.insight_browser import (
    FACETS,
    MEASURES,
    SORTS,
    TOKEN_STARTS,
    InsightBrowser,
    InsightCounts,
    InsightLine,
    InsightQuery,
    Lengths,
    SetScores,
)
from curation.insights import CAVEAT, HUMANEVAL, PUBLISHED_MEANS
from curation.store import benchmarks as pinned
from curation.store import browsing
from curation.store.browsing import SampleQuery

SIZE = 25  # rows a page
PAGING = ("after", "before", "id")
FILE = "another file"
PLACES = {"new": "no stage yet", "kept": "kept", "pending": "pending", "dropped": "dropped"}
SCORE_HEIGHT, TOKEN_HEIGHT = 62, 56  # pixels of the highest bar
RULES = {
    "fence": "by their first fence that names a language",
    "seed": "by their seed",
    "none": "name no language",
}


# --- running it ---


def _benchmarks() -> dict[str, str]:
    """Name the benchmarks that can be chosen, the default first, with where each comes from."""
    here = {b.name: f"{b.items:,} tasks, loaded before" for b in pinned.all_pinned(ui.workspace().database)}
    found = {HUMANEVAL: here[HUMANEVAL]} if HUMANEVAL in here else {}
    offered = {PYSTDLIB: "functions of the standard library, on this machine"}
    hub = dict.fromkeys(KNOWN, "from the Hugging Face hub (network)")
    for group in (here, offered, hub, {FILE: "give its path"}):
        found |= {name: told for name, told in group.items() if name not in found}
    return found


def _form(used: dict[str, Any]) -> None:
    known = _benchmarks()
    before = next(iter(used.get("benchmark", {})), None)
    a, b = st.columns([3, 2], vertical_alignment="bottom")
    name = a.selectbox(
        "Benchmark",
        list(known),
        index=list(known).index(before) if before in known else 0,
        format_func=lambda name: ui.revealed(f"{name} ({known[name]})"),
        key="insights_benchmark",
        help="Words of each row are compared with its tasks.",
    )
    categories = b.checkbox(
        "Categories",
        bool(used.get("categories", True)),
        key="insights_categories",
        help="Needs a vector of each solution; those that Contamination embedded are there already.",
    )
    spec = _file() if name == FILE else name
    sets = _sets(used)
    st.caption(
        "Words, lengths and languages of 100,000 rows take a minute or two. Categories embed solutions that "
        "have no vector yet: a second for every 15 to 40 on two cores. Nothing leaves this machine."
    )
    st.button(
        "Run again" if used else "Measure all rows",
        type="primary",
        key="insights_run",
        icon=":material/play_arrow:",
        disabled=not spec,
        on_click=ui.start,
        args=("insights", {"benchmark": spec, "categories": categories, "sets": sets}),
    )


def _file() -> str:
    """Let a person name a file. Gives NAME=FILE; "" as long as it is none."""
    a, b = st.columns([1, 2])
    name = a.text_input("Name", key="insights_name", placeholder="humaneval", max_chars=60).strip()
    path = b.text_input(
        "Path on this machine", key="insights_path", placeholder="/data/humaneval.jsonl.gz"
    ).strip()
    if not name or not path:
        return ""
    if "=" in name or not os.path.isfile(os.path.expanduser(path)):
        what = f"The name {name!r} must not hold '='" if "=" in name else f"There is no file {path[:200]!r}"
        st.error(ui.plain(what), icon=":material/error:")
        return ""
    return f"{name}={path}"


def _sets(used: dict[str, Any]) -> list[str]:
    names = list(browsing.sample_facets(ui.workspace().database, SampleQuery())["name"])
    if len(names) < 2:
        return []
    return st.multiselect(
        "Sets to compare",
        names,
        [name for name in used.get("sets", []) if name in names],
        format_func=ui.revealed,
        key="insights_sets",
        placeholder="all",
        help="All their words are fitted together, so a set more or less moves every score.",
    )


# --- reading it ---


def _query() -> InsightQuery:
    """Read the view out of the address."""
    asked = st.query_params
    sort = asked.get("sort", "similar")
    return InsightQuery(
        sort=sort if sort in SORTS else "similar",
        **{name: asked.get(name) or None for name in FACETS},
        **{name: ui.range_of(asked.get(name)) for name in MEASURES},
    )


def _rail(browser: InsightBrowser, query: InsightQuery, counted: InsightCounts) -> None:
    facets = counted.facets
    described = [ui.facet("name", "Set", facets["name"], query.name)] if counted.sets > 1 else []
    if browser.has_categories:
        described.append(ui.facet("category", "Category", facets["category"], query.category, rows=10))
    described.append(ui.facet("language", "Language", facets["language"], query.language, rows=8))
    described.append(ui.facet("place", "Where it is", facets["place"], query.place, _place))
    ui.show_facets(described, "insights_facets", PAGING)
    _about_facets(browser)


def _place(value: str) -> str:
    return PLACES.get(value, value)


def _about_facets(browser: InsightBrowser) -> None:
    report = browser.report
    told = []
    if browser.has_categories:
        told.append(
            "Category: which of Magicoder's ten is nearest to the solution, by "
            f"{ui.plain(browser.run.settings['model'])}. The paper used INSTRUCTOR: shares do not compare."
        )
        if report["cut_short"]:
            cut = ui.count_of(report["cut_short"], "solution")
            told.append(f"Of {cut} it read the first word pieces only.")
    else:
        told.append("Categories were left out of this run.")
    rules = [f"{rows:,} {RULES[rule]}" for rule, rows in report["language_rules"].items() if rows]
    told.append(f"Language of the rows: {', '.join(rules)}.")
    st.caption(" ".join(told))


def _scores(browser: InsightBrowser, query: InsightQuery, counted: InsightCounts) -> None:
    benchmark, report = str(browser.report["benchmark"]), browser.report
    published = PUBLISHED_MEANS if benchmark == HUMANEVAL else {}
    shown = counted.scores
    most = max((bar.rows / one.rows for one in shown for bar in one.bars), default=1.0)
    panels = [
        _score_panel(browser, query, one, most, published, (number == 0, number + 1 == len(shown)))
        for number, one in enumerate(shown)
    ]
    st.markdown(
        f"**Words shared with {ui.plain(benchmark)}**",
        help="The highest TF-IDF cosine of a row (problem and solution) with a task (prompt and solution). "
        f"One fit over all {report['samples']:,} rows and {report['items']:,} tasks (scikit-learn).",
    )
    ui.show_histograms(panels, "insights_scores", clear=PAGING)
    told = [f"Height: share of a set's rows, at most {most:.1%}. Dotted: the set's mean."]
    if counted.sets > len(shown) > 0:
        told.append(f"The {len(shown)} largest of {counted.sets:,} sets; choose others on the left.")
    if published:
        told.append(f"Dashed: means that Magicoder published. {CAVEAT}.")
    st.caption(" ".join(told))


def _score_panel(
    browser: InsightBrowser, query: InsightQuery, one: SetScores, most: float,
    published: dict[str, float], ends: tuple[bool, bool],
) -> dict[str, Any]:  # fmt: skip
    """Describe the scores of a set. `ends`: whether it is the first panel, and the last."""
    width = browser.score_axis + 1  # bars: that of 0.10 goes from 0.095 to 0.105
    is_set = query.name in (None, one.name)
    bars = []
    for bar in one.bars:
        inside = query.score is None or query.score[0] <= bar.low <= query.score[1]
        bars.append(
            ui.panel_bar(
                {"name": one.name, "score": f"{bar.low}-{bar.high}"},
                bar.rows,
                bar.rows / one.rows / most,
                chosen=query.score is not None and inside and query.name == one.name,
                outside=not (is_set and inside),
                title=f"{one.name}, {bar.low / 100:.2f}: {ui.count_of(bar.rows, 'row')}",
            )
        )
    lines = [((one.mean * 100 + 0.5) / width, "mean", "")]
    lines += [
        ((mean * 100 + 0.5) / width, "published", f"{name} {mean}" if ends[0] else "")
        for name, mean in published.items()
    ]
    ticks = [((at + 0.5) / width, f"{at / 100:.1f}") for at in range(0, width, 10)] if ends[1] else []
    note = f"{ui.count_of(one.rows, 'row')} · mean {one.mean:.3f}"
    return ui.panel(one.name, note, bars, ticks, lines, SCORE_HEIGHT)


def _lengths(browser: InsightBrowser, query: InsightQuery, counted: InsightCounts) -> None:
    sides = (("problem", "Problems", counted.problem), ("solution", "Solutions", counted.solution))
    st.markdown("**Lengths in tokens**")
    ui.show_histograms(
        [_length_panel(field, title, one, getattr(query, field)) for field, title, one in sides],
        "insights_lengths",
        columns=2,
        clear=PAGING,
    )
    st.caption(
        f"Tokens of {ui.plain(browser.report['tokenizer'])}, without white space; Magicoder's figure "
        "counts cl100k\\_base, which needs a download."
    )


def _length_panel(field: str, title: str, one: Lengths, chosen: tuple[int, int] | None) -> dict[str, Any]:
    most = max((bar.rows for bar in one.bars), default=1) or 1
    bars = []
    for bar in one.bars:
        inside = chosen is None or (chosen[0] <= bar.low and bar.high <= chosen[1])
        span = f"{bar.low} or more" if bar.low == TOKEN_STARTS[-1] else f"{bar.low} to {bar.high}"
        bars.append(
            ui.panel_bar(
                {field: f"{bar.low}-{bar.high}"},
                bar.rows,
                bar.rows / most,
                chosen=chosen is not None and inside,
                outside=not inside,
                title=f"{title}, {span} tokens: {ui.count_of(bar.rows, 'row')}",
            )
        )
    width = len(TOKEN_STARTS)
    ticks = [(at / 20 / width, str(at)) for at in range(0, TOKEN_STARTS[-1] - 50, 100)]
    ticks.append(((width - 0.5) / width, f"{TOKEN_STARTS[-1]}+"))
    place = min(one.mean / 20, width - 0.5) / width
    return ui.panel(title, f"mean {one.mean:.0f}", bars, ticks, [(place, "mean", "")], TOKEN_HEIGHT)


# --- the rows of a bar ---


def _head(query: InsightQuery, total: int) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left, st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{ui.count_of(total, 'row')}**", width="content")
        if query != InsightQuery(sort=query.sort):
            ui.clear_filters("insights")
        else:
            st.caption("Press a bar to see its rows only.")
    with right:
        ui.choose("Sort", "sort", list(SORTS), lambda one: SORTS[one][0], "similar", PAGING)


def _rows(browser: InsightBrowser, query: InsightQuery, total: int) -> None:
    asked = st.query_params
    _head(query, total)
    lines, page = browser.rows_of(query, asked.get("after"), asked.get("before"), SIZE)
    if not lines:
        st.info("No row is like that. Take a filter away.", icon=":material/search_off:")
        return
    _table(browser, lines)
    last = page.first + len(lines) - 1
    told = f"{page.first:,} to {last:,} of {page.total:,}. Click a row to see it beside its nearest task."
    ui.turn_pages("insights", told, page.before, page.after, PAGING)
    chosen = browser.line(asked["id"]) if asked.get("id") else lines[0]
    if chosen is None:
        st.info("This row was not measured; it may have come since.", icon=":material/info:")
    else:
        _detail(chosen)


def _table(browser: InsightBrowser, lines: Sequence[InsightLine]) -> None:
    ids = [line.sample.id for line in lines]
    key = ui.table_key("insights_table", ids)
    columns: dict[str, list[Any]] = {
        "Row": [f"{one.sample.instruction}  {one.sample.input}".strip()[:300] for one in lines],
        "Score": [one.score for one in lines],
        "Nearest task": [one.task.item if one.task is not None else "" for one in lines],
        "Problem": [one.problem for one in lines],
        "Solution": [one.solution for one in lines],
        "Category": [one.category for one in lines],
        "Language": [one.language for one in lines],
        "Set": [one.sample.name for one in lines],
    }
    if not browser.has_categories:
        del columns["Category"]
    number = st.column_config.NumberColumn
    with st.container(key="insights_table"):
        st.dataframe(
            ui.frame(columns),
            hide_index=True,
            key=key,
            on_select=lambda: ui.open_clicked(key, "id", ids),
            selection_mode="single-cell",
            height=318,
            column_config={
                "Row": st.column_config.TextColumn(width=250),
                "Score": number(format="%.3f", width=55),
                "Nearest task": st.column_config.TextColumn(width=100),
                "Problem": number(width=65, help="Tokens of the problem"),
                "Solution": number(width=65, help="Tokens of the solution"),
                "Category": st.column_config.TextColumn(width=150),
                "Language": st.column_config.TextColumn(width=80),
                "Set": st.column_config.TextColumn(width=130),
            },
        )


def _detail(line: InsightLine) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**Score {line.score:.3f}** with its nearest task", width="content")
        st.space("stretch")
        ui.link("row", "Everything about this row", icon=":material/article:", id=line.sample.id)
    if line.task is None:
        st.caption("The benchmark of this run is no longer in the workspace.")
        return
    st.caption("Marked: words that only one of the two has.")
    ui.compare_with_task(line.sample, line.task, [], f"{line.sample.id}-{line.task.item}")


def _read(browser: InsightBrowser) -> None:
    query = _query()
    counted = browser.counts(query)
    rail, main = st.columns([1, 3.4], gap="medium")
    with rail:
        _rail(browser, query, counted)
    with main:
        with st.container(gap="xxsmall"):
            _scores(browser, query, counted)
            _lengths(browser, query, counted)
        _rows(browser, query, counted.total)


def _opened() -> InsightBrowser | None:
    try:
        return ui.insight_browser()
    except DamagedWorkspace as error:  # said, and the form below makes it anew
        ui.say_error(error)
        return None


def _page() -> None:
    ui.heading(
        "Insights",
        "What the rows are like, kept or not. Every bar opens its rows; filters stand in the address.",
    )
    if not ui.funnel().samples:
        ui.empty("There are no samples to measure yet.", "import", "Import my data")
        return
    browser = _opened()
    new = browser.came_since() if browser is not None else 0
    if new:
        st.warning(
            f"Stale: {ui.count_of(new, 'row')} came since and {'is' if new == 1 else 'are'} in no chart. "
            "Run it again below.",
            icon=":material/update:",
        )
    live = ui.show_jobs_of(("insights",))
    if browser is None:
        if not live:
            _form({})
        return
    if not live:
        with st.expander("Run again, or beside another benchmark", icon=":material/tune:"):
            _form(dict(browser.run.settings))
    _read(browser)


_page()
