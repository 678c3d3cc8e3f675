"""Evolve: try heuristics on a few tasks, see what rounds will take, run them, judge them, stop in time."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

import ui
from curation import evolution_import, evolution_scores
from curation.elimination import CHECKS
from curation.errors import CurationError
from curation.evolution_browser import Foreseen, Previewed, foresee, previews, reasons
from curation.evolution_report import PUBLISHED_NEW, PUBLISHED_SIZES, Line, RoundReport
from curation.evolution_tree import words_of_rule
from curation.evolve import ROUNDS, Settings, settings_of
from curation.evolve_calls import METHOD
from curation.generation_browser import newest
from curation.heuristics import heuristics, title_of, weights_in
from curation.store import browsing, evolutions
from curation.store.browsing import SampleQuery
from curation.store.database import Row
from curation.word_diff import word_diff

START, PREVIEW, ROUNDS_VIEW = "Run", "Preview", "Rounds"
STEPS = ("evolve", "evolve-redo")
FEW = 5  # samples that a preview takes at most
LISTED = 30  # samples that a search offers for it
EVERY = "(all samples)"
CHECK_WORDS = {
    "length": "length: three words or fewer, or very long",
    "language": "language: begins with a character that is not ASCII",
    "apology": "apology: the task says sorry",
    "modify": "modify: begins with “modify the”",
}


# --- what is asked for ---


def _set() -> str:
    counts = ui.sets()
    options = [EVERY, *counts]
    default = next(iter(counts), EVERY)
    return ui.choose(
        "Set to evolve", "from", options,
        lambda name: f"{name} ({counts[name]:,})" if name in counts else name, default=default,
    )  # fmt: skip


def _asked(of_preview: bool = False) -> dict[str, Any]:
    """Ask which tasks, how often, and whom. Gives what the job is told."""
    columns = st.columns([2, 1, 1]) if not of_preview else [st.container()]
    with columns[0]:
        parents = _set()
    told: dict[str, Any] = {"parents": None if parents == EVERY else parents}
    if not of_preview:
        total = ui.sets().get(parents) or sum(ui.sets().values())
        told["limit"] = int(columns[1].number_input(
            "Tasks, in import order", 1, max(1, total), max(1, total), key="evolve_limit"))  # fmt: skip
        told["rounds"] = int(columns[2].number_input(
            "Rounds in all", 1, 20, ROUNDS, key="evolve_rounds",
            help="With those that were run before. WizardCoder's best was the third of four."))  # fmt: skip
    before = newest(ui.workspace(), "evolve") or newest(ui.workspace(), "oss-instruct")
    told |= ui.ask_connection("evolve", before)
    with st.expander("Heuristics, checks, budget", expanded=False):
        told |= _choices()
        told |= ui.ask_budget("evolve", before)
    return told


def _choices() -> dict[str, Any]:
    left, right = st.columns([1.4, 1])
    with left:
        names = st.multiselect(
            "Heuristics", list(heuristics()), list(weights_in("")), format_func=title_of,
            key="evolve_heuristics",
            help="Each attempt draws one. The first five are Code Evol-Instruct's, the others WizardLM's.",
        )  # fmt: skip
        weights = st.text_input(
            "Weights", key="evolve_weights", placeholder="all alike; or: constraints=2, complexity=0.5",
            max_chars=300, help="As the command line takes them. Empty: all alike, as published.",
        ).strip()  # fmt: skip
    with right:
        checks = st.multiselect(
            "Checks of the published reproductions", list(CHECKS), format_func=CHECK_WORDS.get,
            key="evolve_checks", placeholder="none, as published",
        )  # fmt: skip
        name = st.text_input("Name of the samples", METHOD, key="evolve_name", max_chars=100)
    with st.container(horizontal=True):
        compares = st.checkbox(
            "Ask whether a task equals its parent", True, key="evolve_compares",
            help="Rule 1 of elimination: a call for each attempt. WizardCoder publishes none.",
        )  # fmt: skip
        seed = st.checkbox("Send a seed", True, key="evolve_seed", help="Some endpoints refuse it.")
        new = st.checkbox("max_completion_tokens", key="evolve_field",
                          help="What newer models of OpenAI call the bound of a reply.")  # fmt: skip
        batch = st.checkbox("Batch API", key="evolve_batch",
                            help="Answers within a day; at OpenAI for half the price.")  # fmt: skip
    return {
        "heuristics": weights or ",".join(names), "checks": checks, "name": name, "compares": compares,
        "send_seed": seed, "mode": "batch" if batch else "now",
        "token_field": "max_completion_tokens" if new else "max_tokens",
    }  # fmt: skip


def _settings(asked: Mapping[str, Any]) -> Settings | None:
    """Read what was asked; what cannot be is told. None too while no model is named."""
    if not asked["model"]:
        return None
    try:
        return settings_of(asked)
    except CurationError as error:
        ui.say_error(error)
        return None


def _no_teacher() -> None:
    with st.container(border=True):
        st.markdown("**No teacher is named yet, so nothing can be evolved here.**")
        st.caption(
            "Enter an endpoint and a model above; any OpenAI-compatible one will do, one of your own too. "
            "Without one the other stages go on as they are: clean, compare and freeze what you have, or "
            "import a round that somebody else has run."
        )
        with st.container(horizontal=True):
            ui.link("import", "Import a round", icon=":material/upload_file:")
            ui.link("clean", "Go on without evolving", icon=":material/content_copy:")


# --- running ---


def _run() -> None:
    asked = _asked()
    settings = _settings(asked)
    is_live = ui.show_jobs_of(STEPS, _result)
    if settings is None:
        if not asked["model"]:
            _no_teacher()
        return
    try:
        found = foresee(ui.workspace(), settings)
    except CurationError as error:
        ui.say_error(error)
        return
    if not is_live:
        if found.paused:
            st.warning(ui.plain(found.paused), icon=":material/pause_circle:")
        _cost(found, settings)
        _buttons(asked, found)
    if found.is_known:
        with st.container(horizontal=True):
            ui.link("evolve", "How the rounds stand", icon=":material/table_chart:", view=ROUNDS_VIEW,
                    evolution=found.evolution)  # fmt: skip
            ui.link("trees", "Family trees", icon=":material/account_tree:", evolution=found.evolution)


def _cost(found: Foreseen, settings: Settings) -> None:
    told = found.estimate
    facts = [
        ("Attempts left", f"{found.left:,}", f"of {found.attempts:,}: {found.samples:,} tasks, a round each"),
        ("Calls at most", f"{found.most_calls:,}", "rewrite, compare, answer; what fails early asks fewer"),
    ]
    if told is not None and found.left:
        facts.append(("Tokens in all", ui.rough(told.tokens.middle), _between(told.tokens)))
        if told.money is not None:
            facts.append(
                ("Money in all", f"{told.money.middle:,.2f}", _between(told.money, "{:,.2f}".format))
            )
        facts.append(("Time left", ui.duration(told.seconds.middle), _between(told.seconds, ui.duration)))
    for column, fact in zip(st.columns(max(4, len(facts))), facts, strict=False):
        with column:
            ui.show_fact(*fact)
    if told is None:
        st.caption("Tokens and time are not known yet: run a few tasks first, or preview some.")
    elif found.left:
        st.caption(
            f"From {ui.count_of(told.measured, 'attempt')} so far. Later rounds rewrite longer tasks, so "
            "they take more than the first."
        )
    if settings.budget_tokens and told is not None and told.tokens.middle > settings.budget_tokens:
        st.caption(f"The budget of {ui.rough(settings.budget_tokens)} tokens will pause it before its end.")


def _between(value: Any, shown: Any = ui.rough) -> str:
    return f"{shown(value.low)} to {shown(value.high)}"


def _buttons(asked: Mapping[str, Any], found: Foreseen) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Run a few (10)", key="evolve_few", icon=":material/experiment:",
            disabled=not found.left or found.samples <= 10,
            on_click=ui.start, args=("evolve", {**asked, "limit": 10}),
            help="The first ten tasks, all rounds: their samples stay, and tell what the others will take.",
        )  # fmt: skip
        rounds = int(asked["rounds"])
        st.button(
            f"Run {ui.count_of(rounds, 'round')} ({found.left:,} attempts)", key="evolve_start",
            icon=":material/trending_up:", type="primary" if found.left else "secondary",
            disabled=not found.left, on_click=ui.start, args=("evolve", dict(asked)),
            help="Asks what was not answered yet. Runs as a job: you can close this tab meanwhile.",
        )  # fmt: skip
        if found.failed:
            st.button(
                f"Ask again what failed ({found.failed:,})", key="evolve_again", icon=":material/replay:",
                on_click=ui.start, args=("evolve", {**asked, "retry_failed": True}),
            )  # fmt: skip
        if not found.left:
            st.caption(
                "Every attempt of these rounds was decided. Ask for more rounds or more tasks to go on."
            )


def _result() -> None:
    last = ui.last_job("evolve")
    if last is None or last.state != "done" or not last.report or last.report.get("paused"):
        return
    made = sum(line["evolved"] for line in last.report["rounds"])
    st.success(
        f"{ui.plain(last.title)}: {ui.count_of(made, 'task')} evolved so far; the set has "
        f"{ui.count_of(last.report['size'], 'row')} with its seeds.",
        icon=":material/check_circle:",
    )
    for warning in last.warnings:
        st.warning(ui.plain(warning), icon=":material/warning:")


# --- preview ---


def _preview() -> None:
    asked = _asked(of_preview=True)
    ids = tuple(one for one in st.query_params.get("ids", "").split(",") if one)[:FEW]
    _pick(asked["parents"], ids)
    settings = _settings({**asked, "ids": list(ids)})
    is_live = ui.show_jobs_of(("evolve-preview",))
    if settings is None:
        if not asked["model"]:
            _no_teacher()
        return
    if not ids:
        st.caption("Tick up to five tasks above: each is rewritten once by each heuristic.")
        return
    try:
        found = previews(ui.workspace(), settings)
    except CurationError as error:
        ui.say_error(error)
        return
    left = len(ids) * len(settings.weights) - sum(
        one.step.state != "waiting" for each in found for one in each.rewritings
    )
    if not is_live:
        st.button(
            f"Preview: {ui.count_of(left, 'call')}" if left else "All of it is there", key="evolve_preview",
            type="primary", icon=":material/visibility:", disabled=not left, on_click=ui.start,
            args=("evolve-preview", {**asked, "ids": list(ids)}),
            help="One call for each heuristic and task. Makes no samples; a round that draws the same takes "
            "its reply.",
        )  # fmt: skip
    for one in found:
        _show_preview(one)


def _pick(parents: str | None, ids: Sequence[str]) -> None:
    """Offer samples to tick; those ticked stand in the address."""
    search = ui.type_in("Search tasks", "search", 'words, or "a phrase"')
    page = browsing.sample_page(
        ui.workspace().database, SampleQuery(search, name=parents), None, None, LISTED
    )
    rows = [row for row in page.rows if row.method != METHOD or parents]
    if not rows:
        st.info("No task fits. Search for fewer words, or choose another set.", icon=":material/search_off:")
        return
    key = ui.table_key("evolve_pick", [row.id for row in rows])
    st.dataframe(
        ui.frame({"Task": [f"{r.instruction}  {r.input}" if r.input else r.instruction for r in rows]}),
        hide_index=True, height=220, key=key, selection_mode="multi-row",
        on_select=lambda: _ticked(key, [row.id for row in rows]),
        column_config={"Task": st.column_config.TextColumn(width=1000)},
    )  # fmt: skip
    if ids:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{ui.count_of(len(ids), 'task')}** chosen", width="content")
            st.button("Choose none", key="evolve_none", type="tertiary", icon=":material/close:",
                      on_click=ui.set_query, kwargs={"ids": None})  # fmt: skip


def _ticked(key: str, ids: Sequence[str]) -> None:
    chosen = [ids[at] for at in st.session_state[key]["selection"]["rows"] if at < len(ids)][:FEW]
    ui.set_query(ids=",".join(chosen))


def _show_preview(one: Previewed) -> None:
    if not one.rewritings:
        return
    sides = [ui.side("The task", one.sample.name, [("", word_diff(one.task, one.task)[0])])]
    for made in one.rewritings:
        text = made.text or "Nothing came back yet."
        spans = word_diff(one.task, text)[1]
        sides.append(ui.side(made.title, made.told, [("", spans)]))
    ui.compare_many(sides, f"preview-{one.sample.id}")


# --- rounds ---


def _evolutions() -> list[Row[Any]]:
    return evolutions.all_of(ui.workspace().database, evolutions.EVOLVED, evolutions.IMPORTED)


def _rounds() -> None:
    found = _evolutions()
    if not found:
        ui.empty(
            "Nothing was evolved yet. Run rounds here, or import one that somebody else has run.",
            "import", "Import a round",
        )  # fmt: skip
        return
    chosen = ui.choose_evolution(found)
    told = ui.round_report(chosen.id)
    _facts(chosen, told)
    _table(told)
    _why(chosen.id)
    _by_heuristic(told)
    _likeness(chosen.id)
    if chosen.kind == evolutions.IMPORTED:
        _eliminate(chosen, told)
    _scores(chosen, told)


def _facts(chosen: Row[Any], told: RoundReport) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        kind = "imported" if chosen.kind == evolutions.IMPORTED else f"by {chosen.model}"
        ui.show_line(f"{chosen.parents or 'all samples'} · {kind} · last worked {chosen.worked_at}")
        st.space("stretch")
        ui.link("trees", "Family trees", icon=":material/account_tree:", evolution=chosen.id)
        if chosen.kind == evolutions.EVOLVED:
            ui.link("samples", "Its samples", icon=":material/table_rows:", name=chosen.name)
    if chosen.paused:
        st.warning(ui.plain(chosen.paused), icon=":material/pause_circle:")
    if told.seed_difficulty is not None:
        st.caption(f"The seed set's difficulty by the judge is {told.seed_difficulty:.2f} of 5 on average.")


def _table(told: RoundReport) -> None:
    """Show what was measured, a round in each column, beside WizardCoder's. Blank: not measured, or of no
    seed set."""
    rounds, sizes = told.rounds, told.sizes()
    known = range(len(rounds) + 1)
    first = rounds[0].words_before if rounds else None
    lines: list[tuple[str, str, Sequence[float | None]]] = [
        ("Parents", ",.0f", [None, *(line.parents for line in rounds)]),
        ("Evolved", ",.0f", [None, *(line.evolved for line in rounds)]),
        ("Survival", ".1%", [None, *(line.survival for line in rounds)]),
        ("  published", ".1%", [_published_survival(round) for round in known]),
        ("Rows of the set", ",.0f", sizes),
        ("Of the seed set", ".2f", [size / told.seeds if told.seeds else None for size in sizes]),
        ("  published", ".2f", [_published_growth(round) for round in known]),
        ("Eliminated", ",.0f", [None, *(sum(line.rejected.values()) for line in rounds)]),
        ("Failed", ",.0f", [None, *(sum(line.failed.values()) or None for line in rounds)]),
        ("Waiting", ",.0f", [None, *(line.waiting or None for line in rounds)]),
        ("Pruned", ",.0f", [None, *(line.pruned or None for line in rounds)]),
        ("Redone beside these", ",.0f", [None, *(line.redone or None for line in rounds)]),
        ("Words of a task", ",.0f", [first, *(line.words for line in rounds)]),
        ("Words over its parent's", ".2f", [None, *(line.growth for line in rounds)]),
        ("Words of an answer", ",.0f", [None, *(line.answer_words for line in rounds)]),
        ("Difficulty by the judge", ".2f", [told.seed_difficulty, *(line.difficulty for line in rounds)]),
        ("Near-duplicates of the parent", ".1%", [None, *(_near(line) for line in rounds)]),
        ("Tokens an attempt", ",.0f", [None, *(_tokens_each(line) for line in rounds)]),
    ]
    shown = [one for one in lines if any(value is not None for value in one[2])]
    columns: dict[str, Sequence[str]] = {"": [name for name, *_ in shown]}
    for round in known:
        title = f"Round {round}" if round else "Seed set"
        columns[title] = ["" if each[round] is None else f"{each[round]:{form}}" for _, form, each in shown]
    st.dataframe(
        ui.frame(columns), hide_index=True, key="evolve_rounds_table", height=33 * (len(shown) + 1) + 3,
        column_config={"": st.column_config.TextColumn(width=240)},
    )  # fmt: skip
    st.caption(
        "Published: WizardCoder, 20K → 38K → 58K → 78K → 98K rows; its third round was best. Words are "
        "medians; difficulty and nearness (cosine 0.8 or more) stand here once they were measured."
    )


NUMBERS = {
    **{name: st.column_config.NumberColumn(format="percent") for name in ("Survival", "Near parent")},
    **{name: st.column_config.NumberColumn(format="%.2f") for name in ("x parent", "Difficulty")},
    **{name: st.column_config.NumberColumn(format="localized")
       for name in ("Parents", "Evolved", "Eliminated", "Words", "Answer words", "Tokens each")},
}  # fmt: skip


def _published_survival(round: int) -> float | None:
    return PUBLISHED_NEW[round] / PUBLISHED_NEW[0] if 0 < round < len(PUBLISHED_NEW) else None


def _published_growth(round: int) -> float | None:
    return PUBLISHED_SIZES[round] / PUBLISHED_SIZES[0] if round < len(PUBLISHED_SIZES) else None


def _near(line: Line) -> float | None:
    return line.alike / line.measured if line.alike is not None and line.measured else None


def _tokens_each(line: Line) -> float | None:
    decided = line.parents - line.waiting
    return round((line.tokens_in + line.tokens_out) / decided) if decided and line.calls else None


def _why(id: str) -> None:
    found = reasons(ui.workspace(), id)
    if not found:
        return
    st.markdown("**Why attempts were eliminated or failed**")
    with st.container(horizontal=True):
        for rule, number in list(found.items())[:10]:
            words = words_of_rule(rule)
            ui.link(
                "trees",
                ui.plain(f"{number:,} {words}"),
                icon=":material/filter_list:",
                evolution=id,
                rule=rule,
            )


def _by_heuristic(told: RoundReport) -> None:
    order = list(heuristics())
    lines = [line for line in told.heuristics if line.heuristic in order]
    lines.sort(key=lambda line: (line.round, order.index(str(line.heuristic))))
    if not lines:
        return
    with st.expander("By heuristic and round", expanded=True):
        columns: dict[str, Sequence[Any]] = {
            "Round": [line.round for line in lines],
            "Heuristic": [title_of(line.heuristic) for line in lines],
            "Parents": [line.parents for line in lines],
            "Evolved": [line.evolved for line in lines],
            "Survival": [line.survival for line in lines],
            "Eliminated": [sum(line.rejected.values()) for line in lines],
            "Words": [line.words for line in lines],
            "x parent": [line.growth for line in lines],
            "Answer words": [line.answer_words for line in lines],
            "Difficulty": [line.difficulty for line in lines],
            "Near parent": [_near(line) for line in lines],
            "Tokens each": [_tokens_each(line) for line in lines],
        }
        shown = {name: one for name, one in columns.items() if any(value is not None for value in one)}
        st.dataframe(ui.frame(shown), hide_index=True, key="evolve_heuristics_table", column_config=NUMBERS)


def _likeness(id: str) -> None:
    """Offer to measure how near tasks are to their parents; it takes no call."""
    with ui.workspace().database.reading() as connection:
        left = len(evolutions.unmeasured(connection, id))
    is_live = ui.show_jobs_of(("likeness",))
    if is_live or not left:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Compare {ui.count_of(left, 'task')} with the parent", key="evolve_likeness",
            icon=":material/difference:", on_click=ui.start, args=("likeness", {"evolution": id}),
        )  # fmt: skip
        st.caption("Cosines as near-duplicates takes them, on this machine, without a call.")


def _eliminate(chosen: Row[Any], told: RoundReport) -> None:
    found = sum(sum(line.rejected.values()) for line in told.rounds)
    if not found:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Reject the {ui.count_of(found, 'sample')} that a rule speaks against", key="evolve_eliminate",
            icon=":material/thumb_down:", on_click=_reject, args=(chosen.id,),
            help="In your name; each can be taken back on its row. Exact duplicates drops what is rejected.",
        )  # fmt: skip


def _reject(id: str) -> None:
    done = ui.act(evolution_import.reject_eliminated, ui.workspace(), id, ui.person())
    if done is not None:
        ui.toast(f"{sum(done['rejected'].values()):,} samples are rejected now")


# --- when to stop ---


def _scores(chosen: Row[Any], told: RoundReport) -> None:
    st.markdown("**When to stop**")
    st.caption(
        "Train on the set after each round, score the model on held-out tasks, and enter the number. Never "
        "the test that results are reported on: a round that is chosen by it looks better than it is."
    )
    found = evolution_scores.standing(ui.workspace(), chosen.id)
    benchmark = st.text_input(
        "Held-out set", found.benchmark or evolution_scores.DEV, key=f"evolve_dev_{chosen.id}", max_chars=100,
        width=320,
    )  # fmt: skip
    for column, round in zip(
        st.columns(max(5, len(told.rounds) + 1)), range(len(told.rounds) + 1), strict=False
    ):
        with column, st.container(border=round == found.best):
            key = f"evolve_score_{chosen.id}_{round}"
            st.number_input(
                "Seed set" if round == 0 else f"Round {round}", 0.0, 100.0, found.scores.get(round), 0.1,
                format="%.1f", key=key, placeholder="not scored", on_change=_enter,
                args=(chosen.id, round, key, benchmark), help="Percent of held-out tasks solved.",
            )  # fmt: skip
            if round == found.best:
                st.badge("best so far", icon=":material/star:", color="green")
    with st.container(horizontal=True, vertical_alignment="center"):
        ui.show_line(found.advice)
        if found.best is not None:
            ui.link("datasets", f"Freeze the set of round {found.best}", icon=":material/ac_unit:",
                    evolution=chosen.id, through=str(found.best))  # fmt: skip


def _enter(id: str, round: int, key: str, benchmark: str) -> None:
    score = st.session_state[key]
    ui.act(evolution_scores.enter_score, ui.workspace(), id, round, score, benchmark, ui.person())


def _page() -> None:
    ui.heading(
        "Evolve",
        "A teacher rewrites tasks into harder ones, round after round (Code Evol-Instruct). What fails a "
        "rule stays on record with its reason, and its parent is tried again in the next round.",
    )
    view = ui.switch("View", "view", [START, PREVIEW, ROUNDS_VIEW])
    if view == ROUNDS_VIEW:
        _rounds()
    elif not sum(ui.places().values()):
        ui.empty("There are no samples yet to evolve.", "import", "Import some")
    elif view == PREVIEW:
        _preview()
    else:
        _run()


_page()
