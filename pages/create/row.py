"""Row: everything known of one row, told from its origin to the sets it is in."""

from typing import Any

import streamlit as st

import ui
from curation import explain, review, sample_words
from curation.errors import CurationError
from curation.generation_browser import ReplyStory, story_of_sample
from curation.store import browsing, evolutions, samples
from curation.store.browsing import SampleQuery

STATES = {
    "kept": ("green", "kept"),
    "dropped": ("red", "dropped"),
    "pending": ("orange", "waits for a person"),
    "not seen": ("gray", "did not reach this stage"),
}
RULES = {
    "exact_duplicate": "It repeats another row's instruction and input; the longest response stays.",
    "duplicate_seed": "Another row came from the same seed.",
    "duplicate_problem": "Another row has the same problem, white space aside.",
    "duplicate_solution": "Another row has the same solution, white space aside.",
    "rejected_by_person": "A person rejected it before any stage.",
    "near_duplicate": "It resembles a kept row beyond doubt.",
    "near_duplicate_over_budget": "It resembles a kept row; the review budget was spent, "
    "so the paper's rule dropped it.",
    "verdict": "A person decided so.",
    "contaminated_substring": "It holds a long string of a benchmark.",
    "contaminated_cosine": "It is too much like a benchmark task.",
    "contaminated_verdict": "A person decided so.",
}


def _neighbours(id: str) -> None:
    """Arrows to the rows before and after this one in the view it was opened from."""
    view = {k: v for k, v in st.query_params.to_dict().items() if k in SampleQuery.__dataclass_fields__ and v}
    seq = _seq(id)
    before, after = (None, None)
    if seq is not None:
        try:
            before, after = browsing.neighbours(ui.workspace().database, SampleQuery(**view), seq)
        except CurationError:
            view = {}
    with st.container(horizontal=True):
        turned = {name: st.query_params[name] for name in ("after", "before") if name in st.query_params}
        ui.link("samples", "Back to the list", icon=":material/arrow_back:", **view, **turned)
        st.space("stretch")
        for other, label, key, icon in (
            (before, "Previous row", "Left", "chevron_left"),
            (after, "Next row", "Right", "chevron_right"),
        ):
            st.button(
                label,
                key=f"row-{key}",
                disabled=other is None,
                shortcut=key,
                icon=f":material/{icon}:",
                on_click=ui.set_query,
                kwargs={"id": other},
            )


def _seq(id: str) -> int | None:
    row = samples.find(ui.workspace().database, id)
    return None if row is None else row.seq


def _texts(told: dict[str, Any]) -> None:
    story = story_of_sample(ui.workspace(), told["id"])
    if story is not None and story.seed is not None and story.parsed is not None:
        _beside_its_seed(told, story)
        return
    language = "python" if told["origin"]["method"] == "comment-function" else None
    left, right = st.columns(2)
    with left:
        st.caption("INSTRUCTION")
        ui.show_text(told["instruction"], height=420)
        if told["input"]:
            st.caption("INPUT")
            ui.show_text(told["input"], height=240)
    with right:
        st.caption("RESPONSE")
        ui.show_text(told["response"], language, height=560)


def _beside_its_seed(told: dict[str, Any], story: ReplyStory) -> None:
    """Show a generated sample beside its seed; what of the seed stands in it again is marked."""
    seed, parsed = story.seed, story.parsed
    assert seed is not None and parsed is not None
    flags = told["origin"].get("extra", {}).get("flags", {})
    if flags:
        found = ", ".join(f"{kind.replace('_', ' ')} x{times}" for kind, times in flags.items())
        st.warning(f"Look at it before you train on it: {ui.plain(found)}", icon=":material/flag:")
    ui.compare_with_seed(
        seed.text,
        f"{seed.language} · {seed.source} · {seed.path} · {seed.licence}",
        [("Problem", parsed.problem), ("Solution", parsed.solution)],
        [story.survived["problem"], story.survived["solution"]],
        "what stands in the seed, too, is marked",
        told["id"],
    )
    ui.link("replies", "The teacher's reply, and what it was asked", icon=":material/forum:",
            g=story.item.generation_id, reply=str(story.item.position))  # fmt: skip


def _words(told: dict[str, Any]) -> None:
    """Show what people and judges said of a sample, with the buttons to say something."""
    said = told.get("words", [])
    newest = next((one["word"] for one in reversed(said)), "none")
    with st.container(horizontal=True, vertical_alignment="center"):
        for word, label, icon in (("accept", "Accept", "thumb_up"), ("reject", "Reject", "thumb_down")):
            st.button(
                f"{label}ed" if newest == word else label,
                key=f"word-{word}",
                icon=f":material/{icon}:",
                type="primary" if newest == word else "secondary",
                on_click=_say,
                args=(told["id"], "none" if newest == word else word),
                help="Press again to take it back. Exact duplicates drops what is rejected, and names you.",
            )
        if newest == "none":
            st.caption("Nobody has said anything of it.")
        else:
            ui.show_line(f"by {said[-1]['person']}, {said[-1]['at']} {said[-1]['note']}")
    for one in told.get("judgements", []):
        difficulty = f", difficulty {one['difficulty']:.0f}" if one.get("difficulty") is not None else ""
        ui.show_line(f"Judge {one['model']}: {one['score']:.0f} of 5{difficulty}: {one['reason']}")
    for other in told.get("edits", []):
        ui.link("row", f"Edited: {other[:12]}", icon=":material/edit:", id=other)
    with st.expander("Edit: makes a new row and rejects this one"):
        problem = st.text_area("Problem", told["instruction"], height=160, key=f"edit-problem-{told['id']}")
        solution = st.text_area("Solution", told["response"], height=260, key=f"edit-solution-{told['id']}")
        st.button(
            "Save as a new row",
            key="edit-save",
            icon=":material/save:",
            disabled=(problem, solution) == (told["instruction"], told["response"]),
            on_click=_edit,
            args=(told["id"], problem, solution),
        )


def _say(id: str, word: str) -> None:
    done = ui.act(sample_words.say, ui.workspace(), id, word, ui.person())
    if done is not None:
        ui.toast(ui.plain(done.message))


def _edit(id: str, problem: str, solution: str) -> None:
    done = ui.act(sample_words.edit, ui.workspace(), id, problem, solution, ui.person())
    if done is not None:
        ui.set_query(id=done.sample)
        ui.toast(ui.plain(done.message))


def _origin(origin: dict[str, Any]) -> None:
    st.markdown("**Where it comes from**")
    facts = {
        "Set": origin["name"],
        "File": origin["source"],
        "Licence": origin["licence"],
        "Made by": origin["method"],
    }
    if origin["row"] is not None:
        facts["Row of the file"] = f"{origin['row']:,} (from 0)"
    if origin["file_id"]:
        facts["Id in the file"] = origin["file_id"]
    seed = origin.get("seed")
    if seed:
        facts |= {
            "Package": seed["source"],
            "Path": seed["path"],
            "Lines": f"{seed['lines'][0]} to {seed['lines'][1]}",
            "Licence known by": seed["licence_evidence"],
        }
    _facts(facts)
    if seed:
        ui.link("seeds", "The seed in its file", icon=":material/grass:", seed=seed["id"])
    _family(origin["name"])
    if origin.get("extra"):
        with st.expander("Other columns of the row"):
            ui.show_data(origin["extra"])


def _family(name: str) -> None:
    """Link to the trees that a row is in, or to what could be made of it."""
    id = st.query_params["id"]
    row = samples.find(ui.workspace().database, id)
    if row is None:
        return
    with ui.workspace().database.reading() as connection:
        steps = [*evolutions.of_child(connection, row.seq), *evolutions.of_parent(connection, row.seq)]
    known = {
        one.id for one in evolutions.all_of(ui.workspace().database, evolutions.EVOLVED, evolutions.IMPORTED)
    }
    first = next((one for one in steps if one.evolution_id in known), None)
    with st.container(horizontal=True):
        if first is not None:
            ui.link("trees", f"Its family tree (round {first.round})", icon=":material/account_tree:",
                    evolution=first.evolution_id, root=str(first.root), step=first.id)  # fmt: skip
        query = {"from": name, "ids": row.id, "view": "Preview"}
        ui.link("evolve", "Preview evolutions of it", icon=":material/trending_up:", **query)


def _facts(facts: dict[str, Any]) -> None:
    st.dataframe(
        ui.frame({"": list(facts), "value": [str(v) for v in facts.values()]}),
        hide_index=True,
        column_config={
            "": st.column_config.TextColumn(width=150),
            "value": st.column_config.TextColumn(width=600),
        },
    )


def _stage(told: dict[str, Any], id: str) -> None:
    color, words = STATES[told["state"]]
    if told["state"] == "pending" and told.get("rejections"):
        words = "put back by a person"
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{ui.STAGE_TITLES[told['stage']]}**", width="content")
            st.badge(words, color=color)  # type: ignore[arg-type]
            st.space("stretch")
            if told["state"] == "dropped":
                st.button(
                    "Put it back",
                    key=f"rescue-{told['stage']}",
                    icon=":material/undo:",
                    on_click=_rescue,
                    args=(id, told["stage"]),
                    help="It goes on as pending; the stages after this one see it at their next run.",
                )
            if told["state"] == "pending" and told.get("rejections"):
                st.button(
                    "Drop it again",
                    key=f"unrescue-{told['stage']}",
                    on_click=_rescue,
                    args=(id, told["stage"], True),
                )
        for rejection in told.get("rejections", []):
            _rejection(rejection)
        for pair in told.get("pairs", []):
            _pair(pair)
        if told.get("matches"):
            _matches(told["matches"])
        _questions(told.get("review", []))
        _kept_for(told.get("kept_instead_of", []))


def _rescue(id: str, stage: str, undo: bool = False) -> None:
    done = ui.act(review.rescue, ui.workspace(), id, ui.person(), stage, undo)
    if done is not None:
        ui.toast(ui.plain(done.message))


def _rejection(rejection: dict[str, Any]) -> None:
    evidence = rejection["evidence"]
    st.markdown(RULES.get(rejection["reason"], ui.plain(rejection["reason"].replace("_", " "))))
    keeper = evidence.get("keeper")
    if keeper:
        cosine = f", cosine {evidence['cosine']:.3f}" if evidence.get("cosine") is not None else ""
        own, other = evidence.get("response_characters", (None, None))
        sizes = f" ({own:,} characters here, {other:,} there)" if own is not None else ""
        ui.link(
            "row",
            f"The row that stays: {keeper[:12]}{cosine}{sizes}",
            icon=":material/arrow_forward:",
            id=keeper,
        )
        if evidence.get("standing"):
            here, there = evidence["standing"]
            ui.show_line(f"Rule: {evidence['rule']}. This row: {here}; the row that stays: {there}.")
        with st.expander("Compare the two, word by word", key=f"compare-{keeper}"):
            _against(keeper)
    if evidence.get("benchmark"):
        ui.show_line(
            f"{evidence['benchmark']}, task {evidence['item']}: "
            f"score {evidence['joint']:.3f} on the {evidence['side']}"
        )
        for hit in evidence.get("hits", []):
            st.caption(f"shared text, {hit['characters']:,} characters of the {hit['field']}")
            ui.show_text(hit["matched"], height=160)


def _against(keeper: str) -> None:
    """Show this row beside the one that was kept."""
    db = ui.workspace().database
    here, there = (samples.find(db, id) for id in (st.query_params["id"], keeper))
    if here is not None and there is not None:
        ui.compare_rows(here, there, ("This row", "The row that stays"), f"{here.id}-{there.id}")


def _pair(pair: dict[str, Any]) -> None:
    what = {"ask": "asked about", "drop": "decided by the rule", "rescued": "put back by a person"}
    decision = what.get(pair["decision"], pair["decision"])
    other = f", responses {pair['response_cosine']:.3f}" if pair["response_cosine"] is not None else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        ui.link("row", f"Like {pair['with'][:12]}: cosine {pair['cosine']:.3f}{other}", id=pair["with"])
        st.caption(ui.plain(decision))
        if pair.get("item"):
            ui.question_link(pair["item"])
    _votes(pair)


def _votes(asked: dict[str, Any]) -> None:
    for vote in asked.get("votes", []):
        note = f": {vote['note']}" if vote["note"] else ""
        ui.show_line(f"{vote['at']}  {vote['person']}  {vote['verdict']}{note}")


def _questions(asked: list[dict[str, Any]]) -> None:
    for question in asked:
        if question:
            ui.question_link(question["item"])
            _votes(question)


def _matches(matches: list[dict[str, Any]]) -> None:
    joint = [m for m in matches if m["detector"] == "joint"]
    st.caption(f"Compared with benchmark tasks; the {min(10, len(joint))} most alike of {len(joint)}")
    st.dataframe(
        ui.frame(
            {
                "Benchmark": [m["benchmark"] for m in joint[:10]],
                "Task": [m["item"] for m in joint[:10]],
                "Score": [m["score"] for m in joint[:10]],
                "Met in": [m["side"] for m in joint[:10]],
                "Decision": [m["decision"] for m in joint[:10]],
            }
        ),
        hide_index=True,
        column_config={"Score": st.column_config.NumberColumn(format="%.3f")},
    )


def _kept_for(others: list[dict[str, Any]]) -> None:
    if not others:
        return
    with st.expander(f"Kept instead of {ui.count_of(len(others), 'other row')}"):
        for other in others[:50]:
            cosine = f", cosine {other['cosine']:.3f}" if other["cosine"] is not None else ""
            ui.link("row", f"{other['id'][:12]}: {other['reason'].replace('_', ' ')}{cosine}", id=other["id"])


def _versions(told: list[dict[str, Any]]) -> None:
    for version in told:
        state = "is in" if version["state"] == "kept" else "was left out of"
        why = ", ".join(r["reason"].replace("_", " ") for r in version.get("rejections", []))
        st.markdown(
            f"It {state} the version **{ui.plain(version['version'])}**"
            + (f" ({ui.plain(why)})." if why else ".")
        )


id = st.query_params.get("id", "")
ui.heading("Row", "The whole story of one row: where it came from, what every stage decided, and why.")
if not id:
    ui.empty("No row is chosen.", "samples", "Choose one in the list of samples")
else:
    _neighbours(id)
    told = explain.explain(ui.workspace(), id)
    st.text(f"id {told['id']}")
    _texts(told)
    _words(told)
    _origin(told["origin"])
    st.markdown("**What happened to it**")
    if not told["stages"]:
        st.caption("No stage has run yet.")
    for stage in told["stages"]:
        _stage(stage, told["id"])
    _versions(told["versions"])
