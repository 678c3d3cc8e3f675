"""Replies: every answer of a teacher, by state and reason; a click shows it beside its seed."""

from typing import Any

import streamlit as st

import jobs
import ui
from curation.generation_browser import (
    STATES,
    ItemQuery,
    ReplyPage,
    ReplyStory,
    newest,
    replies,
    reply_story,
)
from curation.reply import METHOD, REASONS
from curation.store import generations
from curation.store.database import Row

SIZE = 50  # rows a page
PAGING = ("after", "before", "reply")
STATE_WORDS = {"kept": "samples", "rejected": "rejected", "failed": "failed", "waiting": "waiting"}
COLORS = {"kept": "green", "rejected": "orange", "failed": "red", "waiting": "gray"}


def _generation() -> Row[Any] | None:
    """Give the generation that the address names, else the newest."""
    asked = st.query_params.get("g")
    db = ui.workspace().database
    return generations.find(db, asked) if asked else newest(ui.workspace(), METHOD)


def _query() -> ItemQuery:
    asked = st.query_params
    state = asked.get("state")
    return ItemQuery(state if state in STATES else None, asked.get("reason"), asked.get("flag") == "yes")


def _number(name: str) -> int | None:
    asked = st.query_params.get(name, "")
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else None


def _reason(name: str) -> str:
    return REASONS.get(name, name.replace("_", " "))


def _rail(id: str, query: ItemQuery) -> None:
    with ui.workspace().database.reading() as connection:
        counts = generations.counts(connection, id)
        flagged = generations.count_items(connection, id, ItemQuery(flag=True))
    states = {state: sum(found.values()) for state, found in counts.items() if found}
    states_shown = (query.state,) if query.state else STATES
    reasons = {reason: number for state in states_shown for reason, number in counts[state].items() if reason}
    reasons = dict(sorted(reasons.items(), key=lambda one: -one[1]))
    ui.show_facets(
        [
            ui.facet("state", "What became of it", states, query.state, lambda v: STATE_WORDS.get(v, v)),
            ui.facet("reason", "Why not", reasons, query.reason, _reason),
            ui.facet("flag", "Look at", {"yes": flagged} if flagged else {}, "yes" if query.flag else None,
                     lambda _: "says what a person should see"),
        ],
        "replies_facets",
        PAGING,
    )  # fmt: skip


def _table(page: ReplyPage) -> None:
    table = ui.frame(
        {
            "": [STATE_WORDS[one.state] for one in page.lines],
            "Why not": [_reason(one.reason) for one in page.lines],
            "Problem, or what came": [" ".join(one.text.split()) for one in page.lines],
            "Look at": [", ".join(kind.replace("_", " ") for kind in one.flags) for one in page.lines],
            "Seed": [one.path for one in page.lines],
            "Language": [one.language for one in page.lines],
            "Tokens": [one.tokens for one in page.lines],
        }
    )
    ids = [one.position for one in page.lines]
    key = ui.table_key("replies_table", ids)
    with st.container(key="replies_table"):
        st.dataframe(
            table,
            hide_index=True,
            key=key,
            on_select=lambda: ui.open_clicked(key, "reply", ids),
            selection_mode="single-cell",
            height=320,
            column_config={
                "": st.column_config.TextColumn(width=75),
                "Why not": st.column_config.TextColumn(width=170),
                "Problem, or what came": st.column_config.TextColumn(width=380),
                "Look at": st.column_config.TextColumn(width=100),
                "Seed": st.column_config.TextColumn(width=150),
                "Language": st.column_config.TextColumn(width=75),
                "Tokens": st.column_config.NumberColumn(width=60, format="localized"),
            },
        )


def _turn(page: ReplyPage) -> None:
    told = f"{ui.count_of(page.total, 'reply', 'replies')} fit. Click one to see it beside its seed."
    before, after = (None if one is None else str(one) for one in (page.before, page.after))
    ui.turn_pages("replies", told, before, after, PAGING)


def _detail(id: str, position: int) -> None:
    story = reply_story(ui.workspace(), id, position)
    if story is None:
        st.info("There is no such reply.", icon=":material/info:")
        return
    item = story.item
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"#### Reply {item.position + 1:,}", width="content")
        st.badge(STATE_WORDS[item.state], color=COLORS[item.state])  # type: ignore[arg-type]
        if item.reason:
            st.caption(ui.plain(_reason(item.reason)))
        st.space("stretch")
        if item.sample_id:
            ui.link("row", "The sample", icon=":material/article:", id=item.sample_id)
        if story.seed is not None:
            ui.link("seeds", "The seed in its file", icon=":material/grass:", seed=story.seed.id)
    _facts(story)
    if story.parsed is not None and story.seed is not None:
        seed, parsed = story.seed, story.parsed
        ui.compare_with_seed(
            seed.text,
            f"{seed.language} · {seed.source} · {seed.path} · {seed.licence}",
            [("Problem", parsed.problem), ("Solution", parsed.solution)],
            [story.survived["problem"], story.survived["solution"]],
            "what stands in the seed, too, is marked",
            f"{id}-{position}",
        )
    else:
        left, right = st.columns(2)
        with left:
            st.caption("SEED")
            ui.show_text(story.seed.text if story.seed else "the seed is gone", height=420)
        with right:
            st.caption("WHAT CAME BACK")
            ui.show_text(story.content, height=420)
    with st.expander("The whole question"):
        for one in story.question:
            st.caption(one["role"].upper() if one["role"] in ("system", "user", "assistant") else "")
            ui.show_text(one["content"])
        ui.show_data(dict(story.parameters))


def _facts(story: ReplyStory) -> None:
    item = story.item
    tokens = f"{item.tokens_in or 0:,} tokens in, {item.tokens_out or 0:,} out"
    took = f" · {item.seconds:.1f} s" if item.seconds else ""
    tries = f" · {ui.count_of(item.attempts or 0, 'attempt')}"
    said = item.evidence.get("said") or item.message
    ui.show_line(f"{item.model or ''} · {tokens}{took}{tries}" + (f" · {said}" if said else ""))
    if item.repair_id:
        st.caption("It was asked for once more, because the first answer had not the right form.")
    if item.flags:
        found = ", ".join(f"{kind.replace('_', ' ')} x{times}" for kind, times in item.flags.items())
        st.warning(f"Look at it before you train on it: {ui.plain(found)}", icon=":material/flag:")


def _read_again() -> None:
    """Say what reading them again came to."""
    last = next((job for job in jobs.jobs(ui.folder(), limit=5) if job.step == "parse-again"), None)
    if last is None or last.state != "done" or not last.report:
        return
    if usable := last.report["now_kept"]:
        st.success(f"{ui.count_of(usable, 'reply', 'replies')} became usable.")
    else:
        read = ui.count_of(last.report["read"], "reply was", "replies were")
        st.info(f"{read} read again: none became usable.", icon=":material/refresh:")


def _page() -> None:
    ui.heading("Replies", "Every answer of the teacher as it came, what became of it, and why.")
    found = _generation()
    if found is None:
        ui.empty("Nobody has been asked yet.", "generate", "Ask a teacher")
        return
    query = _query()
    ui.show_line(f"{found.name} · {found.model} at {found.endpoint} · prompt {found.prompt_hash[:8]}")
    rail, main = st.columns([1, 3.4], gap="medium")
    with rail:
        _rail(found.id, query)
        st.button(
            "Read all again",
            key="replies_again",
            icon=":material/refresh:",
            on_click=ui.start,
            args=("parse-again", {"generation": found.id}),
            help="With the parser of today, at no cost: no call is made. What is usable now becomes a "
            "sample; no sample is taken away.",
        )
        ui.link("generate", "Back to Generate", icon=":material/arrow_back:")
    with main:
        ui.show_jobs_of(("parse-again",), _read_again)
        page = replies(ui.workspace(), found.id, query, _number("after"), _number("before"), SIZE)
        if not page.lines:
            st.info("No reply fits. Take a filter away.", icon=":material/search_off:")
            return
        _table(page)
        _turn(page)
        shown = _number("reply")
        _detail(found.id, page.lines[0].position if shown is None else shown)


_page()
