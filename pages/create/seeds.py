"""Seeds: every snippet there is, by search, facets and length; a click shows it in its file."""

from typing import Any

import streamlit as st

import ui
from curation.seed_export import seeds_as_lines
from curation.seed_story import SeedStory, seed_story
from curation.store import seed_browsing
from curation.store.facts import Rows
from curation.store.seed_browsing import SEED_SORTS, Counted, SeedLine, SeedQuery

SIZE = 50  # rows a page
PAGING = ("after", "before", "seed")
VIEW = ("search", "lines", "sort", *seed_browsing.SEED_FACETS)  # what of the address says which seeds
METHODS = {
    "magicoder": "lines by chance",
    "syntax": "whole functions",
    "comment-function": "documented functions",
}
VIEW_HEIGHT = 430  # pixels of the file around a seed


def _query() -> SeedQuery:
    """Read the view out of the address."""
    asked = st.query_params
    sort = asked.get("sort", "harvest")
    return SeedQuery(
        search=asked.get("search", "")[:300],
        lines=ui.range_of(asked.get("lines")),
        sort=sort if sort in SEED_SORTS else "harvest",
        **{name: asked.get(name) or None for name in seed_browsing.SEED_FACETS},
    )


def _rail(query: SeedQuery, counted: Counted) -> None:
    facets = counted.facets
    ui.show_facets(
        [
            ui.facet("language", "Language", facets["language"], query.language, rows=12),
            ui.histogram("lines", "Lines", counted.bars, query.lines, "lines"),
            ui.facet("licence", "Licence", facets["licence"], query.licence),
            ui.facet("source", "Source", facets["source"], query.source),
            ui.facet("method", "Cut by", facets["method"], query.method, lambda v: METHODS.get(v, v)),
        ],
        "seeds_facets",
        PAGING,
    )


def _search() -> None:
    left, right = st.columns([3, 1])
    with left:
        ui.type_in(
            "Search",
            "search",
            'words, or "a phrase"',
            PAGING,
            help="All words must occur in the snippet, its path or its source. "
            "The last one may be a beginning.",
        )
    with right:
        ui.choose("Sort", "sort", list(SEED_SORTS), lambda one: SEED_SORTS[one][0], "harvest", PAGING)


def _head(query: SeedQuery, total: int, ticked: list[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{ui.count_of(total, 'seed')}**", width="content")
        if query != SeedQuery(sort=query.sort):
            ui.clear_filters("seeds")
        st.space("stretch")
        _generate(query, total, ticked)
        if ticked:
            _export(f"Export {len(ticked)} ticked", "seeds_export_ticked", lambda: ticked)
        _export(f"Export all {total:,}", "seeds_export", lambda: _all_ids(query), total == 0)


def _generate(query: SeedQuery, total: int, ticked: list[str]) -> None:
    """Link to the page Generate with these seeds: those ticked, or all that match."""
    view = {name: value for name in VIEW if (value := st.query_params.get(name))}
    if ticked:
        ui.link("generate", f"Generate from {len(ticked)} ticked", icon=":material/auto_awesome:",
                ids=",".join(ticked))  # fmt: skip
    elif total:
        ui.link("generate", f"Generate from all {total:,}", icon=":material/auto_awesome:", **view)


def _all_ids(query: SeedQuery) -> list[str]:
    return seed_browsing.seed_ids(ui.workspace().database, query)


def _export(label: str, key: str, ids: Any, disabled: bool = False) -> None:
    st.download_button(
        label,
        lambda: seeds_as_lines(ui.workspace(), ids()),  # made when it is asked for
        "seeds.jsonl",
        "application/jsonl",
        key=key,
        icon=":material/download:",
        on_click="ignore",
        disabled=disabled,
        help="One JSON object a line: text, language, source, path, lines, licence and how it is known.",
    )


def _table(rows: list[SeedLine]) -> list[str]:
    """Show the seeds of a page. Gives the ids of those ticked."""
    table = ui.frame(
        {
            "Snippet": [" ⏎ ".join(filter(None, map(str.strip, one.text.split("\n")))) for one in rows],
            "Lines": [one.last_line - one.first_line + 1 for one in rows],
            "Language": [one.language for one in rows],
            "Path": [one.path for one in rows],
            "Source": [one.source for one in rows],
            "Licence": [one.licence for one in rows],
        }
    )
    ids = [one.id for one in rows]
    key = ui.table_key("seeds_table", ids)
    with st.container(key="seeds_table"):
        chosen = st.dataframe(
            table,
            hide_index=True,
            key=key,
            on_select=lambda: ui.open_clicked(key, "seed", ids),
            selection_mode=["single-cell", "multi-row"],
            selection_default={"selection": {"rows": [n for n, id in enumerate(ids) if id in _ticked()]}},
            height=388,
            column_config={
                "Snippet": st.column_config.TextColumn(width=360),
                "Lines": st.column_config.NumberColumn(width=50),
                "Language": st.column_config.TextColumn(width=75),
                "Path": st.column_config.TextColumn(width=190),
                "Source": st.column_config.TextColumn(width=130),
                "Licence": st.column_config.TextColumn(width=100),
            },
        )
    ticked = [ids[n] for n in chosen["selection"]["rows"] if n < len(ids)]
    st.session_state["seeds_ticked"] = ticked
    return ticked


def _ticked() -> list[str]:
    """Give what was ticked before the table was drawn anew."""
    found: list[str] = st.session_state.get("seeds_ticked", [])
    return found


def _turn(page: Rows) -> None:
    last = page.first + len(page.seqs) - 1
    told = f"{page.first:,} to {last:,} of {page.total:,}. Click a row to see it in its file."
    ui.turn_pages("seeds", told, page.before, page.after, PAGING)


def _detail(query: SeedQuery, id: str) -> None:
    story = seed_story(ui.workspace(), id)
    if story is None:
        st.info(
            "There is no such seed, or no more: its source may have been harvested again.",
            icon=":material/info:",
        )
        return
    seed = story.seed
    before, after = seed_browsing.seed_neighbours(ui.workspace().database, query, id)
    with st.container(horizontal=True, vertical_alignment="center"):
        span = f"lines {seed.first_line:,} to {seed.last_line:,}"
        st.markdown(f"#### {ui.plain(seed.path.rsplit('/', 1)[-1])}, {span}", width="content")
        st.space("stretch")
        for to, label, icon in (
            (before, "Seed before", "arrow_upward"),
            (after, "Seed after", "arrow_downward"),
        ):
            st.button(
                label,
                key=f"seeds_{icon}",
                icon=f":material/{icon}:",
                disabled=to is None,
                on_click=ui.moved,
                args=("seeds_table",),
                kwargs={"seed": to},
            )
    _facts(story)
    of = "the file itself was not kept" if story.of is None else f"{ui.count_of(story.of, 'line')} in all"
    card = ui.code_card(seed.path, of, story.lines, story.first, (seed.first_line, seed.last_line))
    ui.show_code([card], "seeds_file", height=VIEW_HEIGHT)


def _facts(story: SeedStory) -> None:
    seed, document = story.seed, story.document
    ui.show_line(
        f"{seed.source} · {seed.path} · licence {seed.licence} (known by: {seed.licence_evidence}) · "
        f"cut by {METHODS.get(seed.method, seed.method)}"
    )
    redacted = document.redacted if document is not None else {}
    if redacted:
        found = ", ".join(f"{kind.replace('_', ' ')} x{times}" for kind, times in redacted.items())
        ui.show_line(f"Replaced by tags in this file: {found}")
    for id in story.samples[:5]:
        ui.link("row", f"Sample made from it: {id[:12]}", icon=":material/arrow_forward:", id=id)


def _list(query: SeedQuery, counted: Counted) -> None:
    asked = st.query_params
    db = ui.workspace().database
    rows, page = seed_browsing.seed_page(db, query, asked.get("after"), asked.get("before"), SIZE)
    head = st.container()
    if not rows:
        with head:
            _head(query, counted.total, [])
        st.info("No seed fits. Take a filter away, or search for fewer words.", icon=":material/search_off:")
        return
    ticked = _table(rows)
    with head:
        _head(query, counted.total, ticked)
    _turn(page)
    _detail(query, asked.get("seed") or rows[0].id)


def _left_out(dropped: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        ui.link("harvest", "Harvest more", icon=":material/agriculture:")
        if dropped:
            ui.link(
                "documents",
                f"{ui.count_of(dropped, 'document')} left out, by reason",
                icon=":material/rule:",
                state="dropped",
            )


def _page() -> None:
    ui.heading(
        "Seeds",
        "Snippets of real code that a teacher model is inspired by. Filters stand in the address: "
        "copy it to share this view.",
    )
    db = ui.workspace().database
    left_out = sum(one["documents"] - one["kept"] for one in seed_browsing.harvest_rows(db))
    if not ui.count_seeds():
        ui.empty(
            "There are no seeds yet. Cut some from a folder, an archive, a git repository, a data set or the "
            "packages installed here.",
            "harvest",
            "Harvest seeds",
        )
        _left_out(left_out)
        return
    query = _query()
    counted = seed_browsing.seed_counts(db, query)
    rail, main = st.columns([1, 3.4], gap="medium")
    with rail:
        _rail(query, counted)
    with main:
        _search()
        _list(query, counted)
        _left_out(left_out)


_page()
