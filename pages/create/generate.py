"""Generate: choose seeds and a teacher, see what it will cost, try five, then run; watch the replies."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

import ui
from curation import prompt_shelf
from curation.asking import TeacherSettings
from curation.budget import Prices
from curation.comment_functions import NOTE
from curation.errors import CurationError
from curation.generate import settings_of
from curation.generation_browser import FAILED, KEPT, REJECTED, Standing, ledger, newest, standing
from curation.generation_estimate import WIDEST, Estimate, Range
from curation.reply import METHOD, REASONS
from curation.store import judgements, seed_browsing
from curation.store.seed_browsing import SEED_FACETS, SEED_SORTS, SeedQuery

OSS, PAIRS, JUDGE = "OSS-Instruct", "Comment-function pairs", "Judge samples"
TEST = 5  # seeds of a test run
STEPS = ("generate",)


# --- what is asked about ---


def _query() -> SeedQuery:
    """Read the seeds that are chosen out of the address, as the page Seeds writes them."""
    asked = st.query_params
    sort = asked.get("sort", "mixed")
    return SeedQuery(
        search=asked.get("search", "")[:300],
        lines=ui.range_of(asked.get("lines")),
        sort=sort if sort in SEED_SORTS else "mixed",
        **{name: asked.get(name) or None for name in SEED_FACETS},
    )


def _chosen_ids() -> tuple[str, ...]:
    return tuple(one for one in st.query_params.get("ids", "").split(",") if one)[:200]


def _seeds() -> dict[str, Any]:
    """Say which seeds are chosen, and ask how many of them. Gives what the job is told."""
    query, ids = _query(), _chosen_ids()
    total = len(ids) or seed_browsing.seed_counts(ui.workspace().database, query).total
    view = {
        name: st.query_params[name] for name in ("search", "lines", *SEED_FACETS) if name in st.query_params
    }
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{ui.count_of(total, 'seed')}** chosen", width="content")
        ui.show_line("those ticked on the page Seeds" if ids else _words(query))
        st.space("stretch")
        ui.link("seeds", "Choose others", icon=":material/grass:", **view)
    limit = st.number_input(
        "Ask about so many of them",
        1,
        max(1, total),
        min(total or 1, 1_000),
        key="generate_limit",
        width=320,
        help="The first ones of the view in its order; without one, mixed: always the same way.",
    )
    told: dict[str, Any] = {"limit": int(limit)}
    if ids:
        return {**told, "ids": list(ids)}
    return {
        **told,
        "seeds": {
            "search": query.search,
            "sort": query.sort,
            "lines": query.lines and list(query.lines),
            **query.filters,
        },
    }


def _words(query: SeedQuery) -> str:
    said = [f"{name} {value}" for name, value in query.filters.items()]
    said += [f"{query.lines[0]} to {query.lines[1]} lines"] if query.lines else []
    said += [f"words: {query.search}"] if query.search else []
    return " · ".join(said) or "all there are"


# --- whom to ask ---


def _teacher() -> dict[str, Any]:
    before = newest(ui.workspace(), METHOD)
    return {**ui.ask_connection("generate", before), **_prompt(), **_rarely_asked()}


def _prompt() -> dict[str, Any]:
    shelf = prompt_shelf.shelf(ui.workspace(), METHOD)
    used = prompt_shelf.in_use(ui.workspace(), METHOD)
    hashes = [one.hash for one in shelf]
    names = {
        one.hash: f"{one.name} · {one.hash[:8]}" + (" · in use" if one.hash == used.hash else "")
        for one in shelf
    }
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Prompt",
            hashes,
            hashes.index(used.hash) if used.hash in hashes else 0,
            format_func=names.get,
            key="generate_prompt",
            width=360,
        )
        ui.link("prompts", "Read, change and compare prompts", icon=":material/compare:")
    return {"prompt": chosen}


def _rarely_asked() -> dict[str, Any]:
    with st.expander("Budget, prices and limits"):
        told = {**ui.ask_budget("generate", newest(ui.workspace(), METHOD)), **_limits(), **_form()}
        name = st.text_input("Name of the samples", METHOD, key="generate_name", max_chars=100)
    return {**told, "name": name}


def _limits() -> dict[str, Any]:
    base, columns = TeacherSettings(model="x"), st.columns(4)
    at_once = columns[0].number_input(
        "Calls at once",
        1,
        512,
        base.concurrency,
        key="generate_at_once",
        help="At most: fewer when the teacher says it is too fast.",
    )
    draws = columns[1].number_input("Replies for each seed", 1, 100, 1, key="generate_draws")
    temperature = columns[2].number_input(
        "Temperature", 0.0, 2.0, 0.0, 0.1, key="generate_temperature", help="The paper asks with 0."
    )
    longest = columns[3].number_input(
        "Tokens of a reply at most", 16, 8_000, base.max_tokens, key="generate_longest"
    )
    return {
        "concurrency": int(at_once),
        "draws": int(draws),
        "temperature": float(temperature),
        "max_tokens": int(longest),
    }


def _form() -> dict[str, Any]:
    """Ask in which form the endpoint wants its calls, and what follows a reply in the wrong one."""
    with st.container(horizontal=True):
        seed = st.checkbox("Send a seed", True, key="generate_seed", help="Some endpoints refuse it.")
        new = st.checkbox(
            "max_completion_tokens",
            key="generate_field",
            help="What newer models of OpenAI call the bound of a reply.",
        )
        repair = st.checkbox("Ask once more for a reply in the wrong form", True, key="generate_repair")
    return {
        "send_seed": seed,
        "repair": repair,
        "token_field": "max_completion_tokens" if new else "max_tokens",
    }


# --- what it will cost, and the buttons ---


def _range(value: Range, shown: Any = ui.rough) -> str:
    return f"{shown(value.low)} to {shown(value.high)}"


def _foreseen(name: str, value: Range, shown: Any = ui.rough) -> tuple[str, str, str]:
    """Give a number with its range. The middle of a wide range is no foresight: of 15 K to 328 K it told
    171 K, and 52 K were used. So there the range stands in its place."""
    if value.low == value.high:
        return name, shown(value.middle), ""
    if value.half_width > WIDEST:
        return name, _range(value, shown), "not known more closely yet"
    return name, shown(value.middle), _range(value, shown)


def _cost(found: Standing) -> None:
    estimate = found.estimate
    if _is_over(found):
        return  # what was used stands below
    st.markdown(f"**What {ui.count_of(found.wanted, 'seed')} will take**")
    if estimate is None:
        st.caption(
            "Not known yet: a test run of five seeds tells tokens, money and time with a range. "
            "It costs five calls, and its samples stay."
        )
        return
    facts = [_foreseen("Tokens in all", estimate.tokens)]
    if estimate.money is not None:
        facts.append(_foreseen("Money in all", estimate.money, _money))
    facts += [
        _foreseen("Time left", estimate.seconds, ui.duration),
        _foreseen("Samples in all", estimate.kept),
    ]
    for column, fact in zip(st.columns(len(facts)), facts, strict=True):
        with column:
            ui.show_fact(*fact)
    st.caption(_rests_on(estimate))


def _money(value: float) -> str:
    return f"{value:,.2f}"


def _is_over(found: Standing | None) -> bool:
    """Whether nothing is left to ask for the first time."""
    estimate = found.estimate if found else None
    return estimate is not None and not estimate.left


def _rests_on(estimate: Estimate) -> str:
    told = f"From {ui.count_of(estimate.measured, 'reply', 'replies')}; 95 of 100 runs end in the ranges."
    if estimate.more:
        told += f" They differ much: {estimate.more} more test calls bring the range within 35 %."
    return told


def _buttons(asked: Mapping[str, Any], found: Standing | None) -> None:
    estimate = found.estimate if found else None
    done = estimate.measured if estimate else 0
    test = min(int(asked["limit"]), done + (estimate.more if estimate and estimate.more else TEST))
    is_ready = found is not None and bool(asked["model"])
    if found is not None and found.items >= int(asked["limit"]):
        test = done  # all of them were asked: there is nothing to try
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Test run ({test - done})" if test > done else "Test run",
            key="generate_test",
            icon=":material/experiment:",
            disabled=not is_ready or test <= done,
            on_click=ui.start,
            args=("generate", {**asked, "limit": test}),
            help="Asks about the first seeds, keeps the samples, and tells what all will take.",
        )
        st.button(
            f"Full run ({int(asked['limit']):,})",
            type="secondary" if _is_over(found) else "primary",
            key="generate_full",
            icon=":material/auto_awesome:",
            disabled=not is_ready,
            on_click=ui.start,
            args=("generate", dict(asked)),
            help="Asks what was not answered yet. Runs as a job: you can close this tab meanwhile.",
        )
        if found is not None and found.count(FAILED):
            st.button(
                f"Ask again what failed ({found.count(FAILED):,})",
                key="generate_again",
                icon=":material/replay:",
                on_click=ui.start,
                args=("generate", {**asked, "retry_failed": True}),
            )
        if not asked["model"]:
            st.caption("Name a model first.")


# --- how it stands ---


def _counts(found: Standing, asked: Mapping[str, Any]) -> None:
    """Show what became of what was asked; every number opens its replies."""
    if not found.items:
        return
    used = found.used
    facts = [
        ("Asked about", f"{found.items:,}", "seeds so far"),
        ("Samples", f"{found.count(KEPT):,}", _share(found.count(KEPT), found)),
        ("Rejected", f"{found.count(REJECTED):,}", _share(found.count(REJECTED), found)),
        ("Failed", f"{found.count(FAILED):,}", "no usable answer"),
        ("Tokens", ui.rough(used.tokens_in + used.tokens_out), _tokens(used)),
        *_paid(used, asked),
        (
            "A reply takes",
            f"{used.seconds:.1f} s" if used.seconds else "unknown",
            f"{used.attempts:,} calls made",
        ),
    ]
    for column, fact in zip(st.columns(len(facts)), facts, strict=True):
        with column:
            ui.show_fact(*fact)
    with st.container(horizontal=True):
        ui.link("replies", "All replies", icon=":material/forum:", g=found.id)
        for state in (REJECTED, FAILED):
            for reason, number in list(found.counts[state].items())[:6]:
                words = REASONS.get(reason, ui.plain(reason.replace("_", " ")))
                ui.link(
                    "replies",
                    f"{number:,} {words}",
                    icon=":material/filter_list:",
                    g=found.id,
                    state=state,
                    reason=reason,
                )


def _paid(used: Any, asked: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Give what was paid so far by the prices that are entered; what was lost counts as paid."""
    if "price_in" not in asked:
        return []
    prices = Prices(asked["price_in"], asked["price_out"])
    paid = prices.of(used.tokens_in + used.lost_in, used.tokens_out + used.lost_out)
    return [("Money", _money(paid), "so far, by the prices above")]


def _share(number: int, found: Standing) -> str:
    decided = sum(found.count(state) for state in (KEPT, REJECTED, FAILED))
    return f"{number / decided:.0%} of what was decided" if decided else ""


def _tokens(used: Any) -> str:
    told = f"{ui.rough(used.tokens_in)} in, {ui.rough(used.tokens_out)} out"
    lost = used.lost_in + used.lost_out
    return told + (f", at most {ui.rough(lost)} lost" if lost else "")


@st.fragment(run_every=ui.POLL_SECONDS)
def _live(asked: Mapping[str, Any]) -> None:
    with ui.readable_errors():
        _counts(standing(ui.workspace(), settings_of(asked)), asked)


def _paused(found: Standing) -> None:
    if found.paused:
        st.warning(ui.plain(found.paused), icon=":material/pause_circle:")


def _ledger() -> None:
    lines = ledger(ui.workspace())
    if not lines:
        return
    with st.expander(f"Ledger: what {ui.count_of(len(lines), 'generation')} used", key="generate_ledger"):
        st.dataframe(
            ui.frame(
                {
                    "Samples' name": [one["name"] for one in lines],
                    "Model": [one["model"] for one in lines],
                    "Prompt": [f"{one['prompt']} · {one['prompt_hash'][:8]}" for one in lines],
                    "Calls": [one["attempts"] for one in lines],
                    "Tokens in": [one["tokens_in"] for one in lines],
                    "Tokens out": [one["tokens_out"] for one in lines],
                    "Lost at most": [one["tokens_lost"] for one in lines],
                    "Money": [one["money"] for one in lines],
                    "Last call": [one["last"] or "" for one in lines],
                    "Endpoint": [one["endpoint"] for one in lines],
                }
            ),
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(format="localized")
                for name in ("Calls", "Tokens in", "Tokens out", "Lost at most")
            },
        )
        st.caption("Money by the prices that a generation was run with; none where none were entered.")


def _pairs() -> None:
    """Offer the samples that need no teacher."""
    st.info(NOTE, icon=":material/info:")
    limit = st.number_input(
        "Samples at most (0: all)", 0, 10_000_000, 0, key="generate_pairs_limit", width=240
    )
    st.button(
        "Make the pairs",
        type="primary",
        key="generate_pairs",
        icon=":material/link:",
        on_click=ui.start,
        args=("generate", {"method": "comment-function", "limit": int(limit)}),
        help="From the files that were harvested: a comment asks, its function answers. No teacher, no cost.",
    )


def _judge() -> None:
    """Offer to have samples scored by a model, and show the scores there are."""
    st.caption(
        "Optional: a model scores each sample from 1 to 5 by a rubric and says why. Its name and the rubric "
        "stand on the row; where no judge ran, there is no score."
    )
    if not sum(ui.places().values()):
        ui.empty("There are no samples yet to judge.", "generate", "Make some")
        return
    limit = st.number_input("Samples to judge", 1, 10_000_000, 100, key="judge_limit", width=320)
    before = newest(ui.workspace(), METHOD)
    asked = {**ui.ask_connection("judge", before), **ui.ask_budget("judge", before), "limit": int(limit)}
    is_live = ui.show_jobs_of(("judge",), _judged)
    if not is_live:
        st.button(
            f"Judge {ui.count_of(int(limit), 'sample')}", type="primary", key="judge_start",
            icon=":material/gavel:", disabled=not asked["model"], on_click=ui.start, args=("judge", asked),
            help="The first ones that nobody dropped or rejected. What was judged before is not asked again.",
        )  # fmt: skip
    with ui.workspace().database.reading() as connection:
        scores = judgements.histogram(connection)
    if scores:
        st.markdown("**Scores so far**")
        facts = [(f"{score:g} of 5", f"{number:,}") for score, number in sorted(scores.items())]
        for column, fact in zip(st.columns(max(6, len(facts))), facts, strict=False):
            with column:
                ui.show_fact(*fact)


def _judged() -> None:
    """Say what the newest round of judging came to, and why samples have no score."""
    last = ui.last_job("judge")
    if last is None or last.state != "done" or not last.report:
        return
    told = last.report
    if told.get("paused"):
        st.warning(ui.plain(told["paused"]), icon=":material/pause_circle:")
    why = [
        f"{number:,} {REASONS.get(reason, reason.replace('_', ' '))}"
        for reason, number in (*told["rejected"].items(), *told["failed"].items())
    ]
    said = f"{told['judged']:,} of {ui.count_of(told['requested'], 'sample')} judged; "
    said += f"{ui.rough(told['tokens'])} tokens in all."
    st.success(ui.plain(" ".join([said, *(["No score:", ", ".join(why) + "."] if why else [])])),
               icon=":material/check_circle:")  # fmt: skip


def _oss_instruct() -> None:
    if not ui.count_seeds():
        ui.empty(
            "There are no seeds yet: a teacher needs code to be inspired by.", "harvest", "Harvest seeds"
        )
        return
    asked = {**_seeds(), **_teacher()}
    found = None
    if asked["model"]:
        try:
            found = standing(ui.workspace(), settings_of(asked))
        except CurationError as error:
            ui.say_error(error)
    is_live = ui.show_jobs_of(STEPS, _result)
    if found is not None and not is_live:
        _paused(found)
        _cost(found)
    if not is_live:
        _buttons(asked, found)
    if is_live and found is not None:
        _live(asked)
    elif found is not None:
        _counts(found, asked)
    _ledger()


def _result() -> None:
    """Say what the newest run came to."""
    last = ui.last_job("generate")
    if last is None or last.state != "done" or not last.report or last.report.get("paused"):
        return
    told = last.report
    st.success(
        f"{ui.plain(last.title)}: {ui.count_of(told['kept'], 'sample')} of "
        f"{ui.count_of(told['requested'], 'request')}.",
        icon=":material/check_circle:",
    )
    for warning in last.warnings:
        st.warning(ui.plain(warning), icon=":material/warning:")
    if told["kept"]:
        with st.container(horizontal=True):
            ui.link("samples", "Look at the samples", icon=":material/table_rows:")
            ui.link("clean", "Drop exact duplicates", icon=":material/content_copy:")


def _page() -> None:
    ui.heading(
        "Generate",
        "A teacher model writes a problem and its solution, inspired by each seed. Every call is on record "
        "before it is sent; none is paid for twice.",
    )
    way = ui.switch("Way", "way", [OSS, PAIRS, JUDGE])
    if way == PAIRS:
        ui.show_jobs_of(STEPS, _result)
        _pairs()
    elif way == JUDGE:
        _judge()
    else:
        _oss_instruct()


_page()
