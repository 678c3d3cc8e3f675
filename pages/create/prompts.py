"""Prompt bench: the same seeds under two prompts or models, side by side; write one, promote one."""

from typing import Any

import streamlit as st

import ui
from curation import prompt_shelf
from curation.errors import CurationError
from curation.generation_browser import newest
from curation.prompt import Prompt
from curation.prompt_bench import SEEDS, Compared, Summary, Variant, compared
from curation.reply import METHOD, REASONS

STEPS = ("prompt-bench",)
NAMES = ("Left", "Right")


def _named(prompt: Prompt) -> str:
    """Name a prompt. Which one is in use, the button below says: the browser keeps the words of a choice that
    stands, and so called the one that was in use before "in use"."""
    return f"{prompt.name} · {prompt.hash[:8]}"


def _side(number: int, shelf: list[Prompt], used: Prompt, model: str) -> Variant:
    """Let a person choose a side's prompt and model; the prompt stands below, with its buttons."""
    hashes = [one.hash for one in shelf]
    first = hashes.index(used.hash) if used.hash in hashes else 0
    default = first if number == 0 else (first + 1) % len(hashes)
    asked = st.query_params.get(f"p{number}", "")
    names = {one.hash: _named(one) for one in shelf}
    chosen = st.selectbox(
        f"{NAMES[number]}: prompt",
        hashes,
        hashes.index(asked) if asked in hashes else default,
        format_func=lambda hash: names[hash],
        key=f"bench_prompt_{number}",
        on_change=_to_address,
        args=(number,),
    )
    typed = st.text_input(
        f"{NAMES[number]}: model", model, key=f"bench_model_{number}", max_chars=200
    ).strip()
    prompt = next(one for one in shelf if one.hash == chosen)
    with st.container(horizontal=True):
        st.button(
            "In use" if prompt.hash == used.hash else "Promote: use it from now on",
            key=f"bench_promote_{number}",
            icon=":material/star:",
            disabled=prompt.hash == used.hash,
            on_click=_promote,
            args=(prompt,),
            help="Generate takes it from now on. What other prompts made stays.",
        )
    with st.expander("Read it, or write another from it", key=f"bench_text_{number}"):
        _editor(prompt, number)
    return Variant(prompt.hash, typed)


def _to_address(number: int) -> None:
    ui.set_query(**{f"p{number}": st.session_state[f"bench_prompt_{number}"]})


def _promote(prompt: Prompt) -> None:
    ui.act(prompt_shelf.promote, ui.workspace(), prompt, ui.person())


def _editor(prompt: Prompt, number: int) -> None:
    """Show a prompt's texts as they can be changed; what is saved is another prompt with its own hash."""
    mark = f"{number}_{prompt.hash[:12]}"
    name = st.text_input("Name", f"{prompt.name} 2", key=f"bench_name_{mark}", max_chars=100)
    system = st.text_area("System", prompt.system, key=f"bench_system_{mark}", height=90)
    user = st.text_area(
        "User: {seed} is the snippet, {begin} and {end} its delimiters, {language} its language",
        prompt.user,
        key=f"bench_user_{mark}",
        height=320,
    )
    repair = st.text_area(
        "When the answer has not the right form", prompt.repair, key=f"bench_repair_{mark}", height=90
    )
    made = Prompt(name.strip(), prompt.method, system, user, repair)
    st.button(
        "Save as a new prompt",
        key=f"bench_save_{mark}",
        icon=":material/save:",
        disabled=made.hash == prompt.hash,
        on_click=_save,
        args=(made, number),
        help="The old one stays, with everything that was made by it.",
    )


def _save(prompt: Prompt, number: int) -> None:
    if ui.act(prompt_shelf.write, ui.workspace(), prompt) is not None:
        ui.set_query(**{f"p{number}": prompt.hash})
        st.session_state.pop(f"bench_prompt_{number}", None)
        ui.toast("Saved; choose Compare to try it")


def _asked() -> tuple[dict[str, Any], list[Variant]]:
    before = newest(ui.workspace(), METHOD)
    shelf, used = prompt_shelf.shelf(ui.workspace(), METHOD), prompt_shelf.in_use(ui.workspace(), METHOD)
    top = st.columns([2, 1, 1])
    with top[0]:
        base_url = st.text_input(
            "Endpoint",
            before.endpoint if before else "",
            key="bench_url",
            placeholder="https://api.openai.com/v1",
            max_chars=2_000,
        ).strip()
    with top[1]:
        st.text_input(
            "API key",
            type="password",
            key="bench_key",
            on_change=ui.hold_key,
            args=("bench_key", base_url),
            max_chars=4_000,
        )
        ui.key_note(base_url)
    with top[2]:
        number = st.number_input(
            "Seeds",
            1,
            50,
            SEEDS,
            key="bench_seeds",
            help="The first ones in the mixed order: the same for both sides.",
        )
    model = before.model if before else ""
    variants = []
    for number_of_side, column in enumerate(st.columns(2, gap="medium")):
        with column:
            variants.append(_side(number_of_side, shelf, used, model))
    settings = {**(before.settings if before else {}), "base_url": base_url}
    kept = ("temperature", "max_tokens", "send_seed", "token_field", "price_in", "price_out", "concurrency")
    asked = {name: settings[name] for name in kept if name in settings}
    return {**asked, "base_url": base_url, "model": variants[0].model, "limit": int(number)}, variants


def _table(found: Compared) -> None:
    def line(name: str, value: Any) -> list[str]:
        return [name, *(value(one) for one in found.sides)]

    def of(value: float, unit: str = "") -> str:
        return f"{value:,.0f}{unit}"

    lines = [
        line("Prompt", lambda s: f"{s.prompt.name} · {s.prompt.hash[:8]}"),
        line("Model", lambda s: s.model),
        line("Usable replies", lambda s: f"{s.usable} of {s.asked}"),
        line("Tokens in, each", lambda s: of(s.tokens_in)),
        line("Tokens out, each", lambda s: of(s.tokens_out)),
        line("Problem, characters", lambda s: of(s.problem)),
        line("Solution, characters", lambda s: of(s.solution)),
        line("Seconds, each", lambda s: f"{s.seconds:.1f}"),
    ]
    columns = ("", *NAMES)
    table = ui.frame({name: [one[number] for one in lines] for number, name in enumerate(columns)})
    st.dataframe(table, hide_index=True, key="bench_table")


def _pairs(found: Compared) -> None:
    total = len(found.pairs)
    asked = st.query_params.get("pair", "1")
    number = min(total, int(asked)) if asked.isascii() and asked.isdecimal() and len(asked) < 5 else 1
    number = max(1, number)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**Seed {number} of {total}**", width="content")
        st.space("stretch")
        for label, to, icon in (("Previous", number - 1, "Left"), ("Next", number + 1, "Right")):
            st.button(
                f"{label} seed",
                key=f"bench_{label}",
                icon=f":material/chevron_{icon.lower()}:",
                shortcut=icon,
                disabled=not 1 <= to <= total,
                on_click=ui.set_query,
                kwargs={"pair": str(to)},
            )
    stories = found.pairs[number - 1]
    seed = next((one.seed for one in stories if one is not None), None)
    if seed is not None:
        ui.show_code(
            [
                ui.code_card(
                    seed.path,
                    f"{seed.language} · {seed.source}",
                    seed.text.splitlines(),
                    seed.first_line,
                    (0, 0),
                )
            ],
            f"bench_seed_{number}",
        )
    for column, story, side in zip(st.columns(2, gap="medium"), stories, found.sides, strict=True):
        with column:
            _reply(story, side)


def _reply(story: Any, side: Summary) -> None:
    st.markdown(f"**{ui.plain(side.prompt.name)}** · {ui.plain(side.model)}")
    if story is None:
        st.caption("Not answered yet.")
        return
    item = story.item
    words = "usable" if not item.reason else REASONS.get(item.reason, item.reason.replace("_", " "))
    st.badge(words if len(words) < 60 else item.state, color="green" if item.state == "kept" else "orange")
    st.caption(f"{item.tokens_in or 0:,} tokens in, {item.tokens_out or 0:,} out")
    if story.parsed is None:
        ui.show_text(story.content, height=420)
        return
    st.caption("PROBLEM")
    ui.show_text(story.parsed.problem, height=320)
    st.caption("SOLUTION")
    ui.show_text(story.parsed.solution, height=420)


def _page() -> None:
    ui.heading(
        "Prompt bench",
        "The same seeds under two prompts or two models. Replies here make no samples; the one you promote "
        "uses them again at no cost.",
    )
    if not ui.count_seeds():
        ui.empty("There are no seeds yet to try a prompt on.", "harvest", "Harvest seeds")
        return
    asked, variants = _asked()
    is_ready = all(one.model for one in variants) and variants[0] != variants[1]
    st.button(
        f"Compare on {ui.count_of(asked['limit'], 'seed')}",
        type="primary",
        icon=":material/compare:",
        key="bench_compare",
        disabled=not is_ready,
        on_click=ui.start,
        args=("prompt-bench", {**asked, "variants": [[one.prompt, one.model] for one in variants]}),
        help="At most two calls for each seed; what was asked before is not asked again.",
    )
    if not is_ready:
        st.caption("Two sides that differ, each with a model, can be compared.")
    ui.show_jobs_of(STEPS)
    if not is_ready:
        return
    try:
        found = compared(ui.workspace(), asked, variants)
    except CurationError as error:
        ui.say_error(error)
        return
    if any(side.asked for side in found.sides):
        _table(found)
        _pairs(found)


_page()
