"""Documents: every file that a harvest read, used or left out, with the reason; each can be put back."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

import ui
from curation import rescued_documents
from curation.seed_story import AROUND, plain_lines
from curation.store import documents, seed_browsing
from curation.store.documents import KEPT, RESCUED
from curation.store.facts import Rows
from curation.store.seed_browsing import DOCUMENT_SORTS, Counted, DocumentQuery

SIZE = 50  # rows a page
PAGING = ("after", "before", "document")
STATES = {"kept": "used", "dropped": "left out"}
VIEW_HEIGHT = 430  # pixels of a file
NO_TEXT = "its text was not kept"
RULES = {
    "bad_encoding": "It is not UTF-8 text.",
    "binary_file": "It is no text.",
    "build_output": "It lies where tools put what they build.",
    "crashed": "The process that judged it died of it.",
    "empty": "It holds nothing.",
    "encoded": "Most of it is encoded data.",
    "generated": "A tool wrote it, by its own words or its name.",
    "hidden_file": "Its name, or that of a folder around it, begins with a dot.",
    "large_file": "It is larger than code that a person wrote.",
    "licence_header": "Its own first lines name a licence that is not allowed.",
    "licence_not_allowed": "Its licence is not on the list of those allowed.",
    "licence_unknown": "Nobody says under which licence it stands.",
    "link": "It is a link; links are not followed.",
    "long_lines": "Its lines are longer than people write.",
    "low_alphanumeric": "Few of its characters are letters or numbers.",
    "minified": "It was minified.",
    "near_duplicate_document": "It is nearly a copy of another document that is used.",
    "no_unit_of_this_length": "It has no whole function or class of the lengths asked for.",
    "over_quota": "Its language has its number of documents already.",
    "same_document": "An equal document is used.",
    "submodule": "It is another repository.",
    "vendored_file": "It lies in a folder of other people's code.",
    "whitespace": "What would be cut holds nothing but white space.",
}


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def _query() -> DocumentQuery:
    """Read the view out of the address."""
    asked = st.query_params
    sort = asked.get("sort", "harvest")
    return DocumentQuery(
        search=asked.get("search", "")[:300],
        sort=sort if sort in DOCUMENT_SORTS else "harvest",
        **{name: asked.get(name) or None for name in seed_browsing.DOCUMENT_FACETS},
    )


def _rail(query: DocumentQuery, counted: Counted, names: Mapping[str, str]) -> None:
    facets = counted.facets
    described = [
        ui.facet("state", "Used or left out", facets["state"], query.state, lambda v: STATES.get(v, v)),
        ui.facet("reason", "Reason", facets["reason"], query.reason, _words, 16),
        ui.facet("language", "Language", facets["language"], query.language, rows=12),
        ui.facet("licence", "Licence", facets["licence"], query.licence),
        ui.facet("source", "Source", facets["source"], query.source),
    ]
    if len(names) > 1:
        described.append(
            ui.facet(
                "harvest_id", "Harvest", facets["harvest_id"], query.harvest_id, lambda v: names.get(v, v)
            )
        )
    ui.show_facets(described, "documents_facets", PAGING)


def _search() -> None:
    left, right = st.columns([3, 1])
    with left:
        ui.type_in("Search", "search", "part of a path", PAGING)
    with right:
        ui.choose("Sort", "sort", list(DOCUMENT_SORTS), lambda one: DOCUMENT_SORTS[one][0], "harvest", PAGING)


def _where(row: Any) -> str:
    if row.state == KEPT:
        return f"used, put back ({_words(row.reason)})" if row.stage == RESCUED else "used"
    return _words(row.reason)


def _told(evidence: Mapping[str, Any]) -> str:
    """Say what shows why, in a line."""
    parts = []
    for name, value in evidence.items():
        if name == "kept":
            parts.append(f"like {value['source']}: {value['path']}")
        elif name == "said":
            parts.append(str(value))
        else:
            parts.append(f"{_words(name)}: {value}")
    return "; ".join(parts)


def _table(rows: Sequence[Any]) -> None:
    ids = [row.seq for row in rows]
    key = ui.table_key("documents_table", ids)
    with st.container(key="documents_table"):
        st.dataframe(
            ui.frame(
                {
                    "Path": [one.path for one in rows],
                    "What became of it": [_where(one) for one in rows],
                    "What shows it": [_told(one.evidence) for one in rows],
                    "Language": [one.language for one in rows],
                    "Source": [one.source for one in rows],
                    "Licence": [one.licence for one in rows],
                    "Bytes": [one.bytes for one in rows],
                }
            ),
            hide_index=True,
            key=key,
            on_select=lambda: ui.open_clicked(key, "document", ids),
            selection_mode="single-cell",
            height=388,
            column_config={
                "Path": st.column_config.TextColumn(width=260),
                "What became of it": st.column_config.TextColumn(width=150),
                "What shows it": st.column_config.TextColumn(width=230),
                "Language": st.column_config.TextColumn(width=75),
                "Source": st.column_config.TextColumn(width=120),
                "Licence": st.column_config.TextColumn(width=90),
                "Bytes": st.column_config.NumberColumn(format="localized", width=70),
            },
        )


def _turn(page: Rows) -> None:
    last = page.first + len(page.seqs) - 1
    told = f"{page.first:,} to {last:,} of {page.total:,}. Click a row to read the document."
    ui.turn_pages("documents", told, page.before, page.after, PAGING)


def _detail(seq: str) -> None:
    row = documents.find(ui.workspace().database, int(seq)) if seq.isdecimal() and len(seq) < 16 else None
    if row is None:
        st.info(
            "There is no such document, or no more: its source may have been harvested again.",
            icon=":material/info:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"#### {ui.plain(row.path.rsplit('/', 1)[-1])}", width="content")
        st.badge(_where(row), color="green" if row.state == KEPT else "red")
        st.space("stretch")
        _buttons(row)
    if row.reason:
        st.markdown(RULES.get(row.reason, ui.plain(_words(row.reason))))
        if told := _told(row.evidence):
            ui.show_line(told)
    ui.show_line(
        f"{row.source} · {row.path} · licence {row.licence} (known by: {row.licence_evidence}) · "
        f"{row.bytes:,} bytes"
    )
    for word in documents.rescues(ui.workspace().database, row):
        what = "put it back" if word.wanted else "left it out again"
        ui.show_line(f"{word.at}  {word.person}  {what}")
    _texts(row)


def _buttons(row: Any) -> None:
    if row.state == KEPT and row.stage != RESCUED:
        return
    if not seed_browsing.has_text(ui.workspace().database, row.hash):
        st.caption("Its text was not kept, so it cannot be put back.")
        return
    is_rescued = row.stage == RESCUED
    st.button(
        "Leave it out again" if is_rescued else "Put it back",
        key="documents_unrescue" if is_rescued else "documents_rescue",
        icon=":material/undo:",
        on_click=_said,
        args=(
            rescued_documents.leave_out_again if is_rescued else rescued_documents.rescue_document,
            row.seq,
            row.hash,
        ),
        help="A seed that a sample was made from stays."
        if is_rescued
        else "It is used from now on, whatever stands against it, in later harvests, too.",
    )


def _said(action: Any, seq: int, hash: str) -> None:
    done = ui.act(action, ui.workspace(), seq, ui.person(), hash)
    if done is not None:
        ui.moved("documents_table", document=str(seq))  # it may no longer be in the list, but stays open
        ui.toast(ui.plain(done.message))


def _texts(row: Any) -> None:
    """Show the document, beside the one that stands for it when there is one."""
    cards = [_card(row, "This document" if "kept" in row.evidence else row.path)]
    kept = row.evidence.get("kept")
    other = documents.at(ui.workspace().database, kept["source"], kept["path"]) if kept else None
    if other is not None:
        cards.append(_card(other, "The one that is used"))
    if any(card["note"] != NO_TEXT for card in cards):
        ui.show_code(cards, "documents_text", columns=len(cards), height=VIEW_HEIGHT)


def _card(row: Any, title: str) -> dict[str, Any]:
    text = documents.text_of(ui.workspace().database, row.hash)
    if text is None:
        return ui.code_card(title, NO_TEXT, [], 1, (0, 0))
    lines = plain_lines(text)
    line = row.evidence.get("line", 0)
    marked = int(line) if isinstance(line, int) else 0
    first = max(0, marked - AROUND)
    note = f"{ui.count_of(len(lines), 'line')} in all"
    return ui.code_card(title, note, lines[first : first + 2 * AROUND], first + 1, (marked, marked))


def _list(query: DocumentQuery, total: int) -> None:
    asked = st.query_params
    rows, page = seed_browsing.document_page(
        ui.workspace().database, query, asked.get("after"), asked.get("before"), SIZE
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{ui.count_of(total, 'document')}**", width="content")
        if query != DocumentQuery(sort=query.sort):
            ui.clear_filters("documents")
        st.space("stretch")
        ui.link("seeds", "To the seeds", icon=":material/grass:")
    if rows:
        _table(rows)
        _turn(page)
    else:
        st.info("No document fits. Take a filter away.", icon=":material/search_off:")
    if rows or asked.get("document"):
        _detail(asked.get("document") or str(rows[0].seq))


def _page() -> None:
    ui.heading(
        "Documents",
        "Every file that harvests read. What was left out keeps its reason, and a person can put it back.",
    )
    db = ui.workspace().database
    harvests = seed_browsing.harvest_rows(db)
    if not any(one["documents"] for one in harvests):
        ui.empty("No document was harvested yet.", "harvest", "Harvest seeds")
        return
    query = _query()
    counted = seed_browsing.document_counts(db, query)
    rail, main = st.columns([1, 3.4], gap="medium")
    with rail:
        _rail(query, counted, {one["id"]: one["given"] for one in harvests})
    with main:
        _search()
        _list(query, counted.total)


_page()
