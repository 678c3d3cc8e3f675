"""Samples: every row there is, by search, facets and where it stands; a click opens its whole story."""

import streamlit as st

import ui
from curation.store import browsing
from curation.store.browsing import SORTS, SampleQuery

SIZE = 50  # rows a page: what fits two screens
PAGING = ("after", "before")
FACETS = {
    "place": "Where it is",
    "stage": "Stage",
    "reason": "Reason",
    "name": "Set",
    "licence": "Licence",
    "method": "Method",
}
PLACES = {"new": "no stage yet", "kept": "kept", "pending": "pending", "dropped": "dropped"}


def _words(field: str, value: str) -> str:
    if field == "place":
        return PLACES.get(value, value)
    if field == "stage":
        return ui.STAGE_TITLES.get(value, value)
    return value.replace("_", " ") if field == "reason" else value


def _query() -> SampleQuery:
    """Read the view out of the address."""
    asked = st.query_params
    sort = asked.get("sort", "import")
    place = asked.get("place") if asked.get("place") in PLACES else None
    return SampleQuery(
        search=asked.get("search", "")[:300],
        sort=sort if sort in SORTS else "import",
        place=place,
        **{
            name: asked.get(name) or None
            for name in ("name", "source", "licence", "method", "stage", "reason")
        },
    )


def _filters(query: SampleQuery) -> None:
    facets = browsing.sample_facets(ui.workspace().database, query)
    left, right = st.columns([3, 1])
    with left:
        ui.type_in(
            "Search",
            "search",
            'words, or "a phrase"',
            PAGING,
            help="All words must occur in the instruction, the input or the response.",
        )
    with right:
        ui.choose("Sort", "sort", list(SORTS), lambda name: SORTS[name], default="import", clear=PAGING)
    for column, (field, label) in zip(st.columns(len(FACETS)), FACETS.items(), strict=True):
        values = {value: rows for value, rows in facets[field].items() if value}
        chosen = getattr(query, field)
        if chosen and chosen not in values:
            values[chosen] = 0
        with column:
            ui.choose(
                label,
                field,
                ["", *values],
                clear=PAGING,
                shown=lambda v, f=field, n=values: f"{_words(f, v)} ({n[v]:,})" if v else "all",
            )


def _head(query: SampleQuery) -> None:
    counted = browsing.sample_count(ui.workspace().database, query)
    with st.container(horizontal=True, vertical_alignment="center"):
        exact = "" if counted.exact else "at least "
        st.markdown(f"**{exact}{ui.count_of(counted.number, 'row')}**")
        if query != SampleQuery(sort=query.sort):
            ui.clear_filters("samples")


def _table(query: SampleQuery) -> None:
    asked = st.query_params
    page = browsing.sample_page(ui.workspace().database, query, asked.get("after"), asked.get("before"), SIZE)
    if not page.sorted:
        st.caption("So many rows match that they are shown in import order; narrow the search to sort them.")
    if not page.rows:
        st.info("No row fits. Take a filter away, or search for fewer words.", icon=":material/search_off:")
        return
    rows = page.rows
    table = ui.frame(
        {
            "Instruction": [f"{r.instruction}  {r.input}" if r.input else r.instruction for r in rows],
            "Where": [_where(r) for r in rows],
            "Response": [r.response for r in rows],
            "Set": [r.name for r in rows],
            "Licence": [r.licence for r in rows],
            "Response characters": [r.response_chars for r in rows],
        }
    )
    chosen = st.dataframe(
        table,
        hide_index=True,
        key="samples_table",
        on_select="rerun",
        selection_mode="single-cell",
        height=620,
        column_config={
            "Instruction": st.column_config.TextColumn(width=400),
            "Response": st.column_config.TextColumn(width=320),
            "Where": st.column_config.TextColumn(width=190),
            "Response characters": st.column_config.NumberColumn("Chars", format="localized", width=70),
        },
    )
    clicked = ui.clicked_row(chosen)
    if clicked is not None:
        row = rows[clicked]
        # With its page, so that Back finds it again. Only what is ours: Back leaves the row's id here, too.
        known = (*SampleQuery.__dataclass_fields__, *PAGING)
        view = {k: v for k, v in asked.to_dict().items() if k in known and isinstance(v, str)}
        ui.go("row", id=row.id, **view)
    ui.turn_pages("samples", "Click a row to read its whole story.", page.before, page.after, PAGING)


def _where(row: object) -> str:
    words = PLACES[row.place]  # type: ignore[attr-defined]
    stage = row.stage  # type: ignore[attr-defined]
    return f"{words}: {ui.STAGE_TITLES[stage]}" if stage else words


ui.heading("Samples", "Every row, kept or not. Filters stand in the address: copy it to share this view.")
if ui.funnel().samples:
    query = _query()
    _filters(query)
    _head(query)
    _table(query)
else:
    ui.empty(
        "There are no samples yet. Import a file, or make the example set on the overview.",
        "import",
        "Import my data",
    )
