"""A prompt that would waste calls is refused; text of strangers never leaves its delimiters (faults S23)."""

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import WrongInput
from curation.languages import NAMES
from curation.oss_instruct import messages
from curation.prompt import LONGEST, METHODS, SHIPPED, Prompt, check, delimiters, filled, shipped, tag_for
from curation.records import digest
from tests.injection_seeds import SEEDS, InjectionSeed, guess

USER = "In {language}:\n{begin}\n{seed}\n{end}\nGo."
PLAIN = Prompt("plain", "oss-instruct", "You write problems.", USER)
JUDGE = Prompt("mine", "judge", "You judge.", "{begin}\n{problem}\n{end}\n{begin}\n{solution}\n{end}")
ALL = [prompt for method in METHODS for prompt in shipped(method)]
OSS_INSTRUCT = shipped("oss-instruct")


# --- what a prompt must hold ---


@pytest.mark.parametrize("prompt", [*ALL, PLAIN, JUDGE], ids=lambda prompt: prompt.name)
def test_what_can_be_sent_is_let_through(prompt: Prompt) -> None:
    check(prompt)


@pytest.mark.parametrize(("changes", "says"), [
    ({"user": "{begin}\n{end}"}, "the user text lacks {seed}; add what is missing"),
    ({"user": "{seed}\n{end}"}, "the user text lacks {begin}; add what is missing"),
    ({"user": "{begin}\n{seed}"}, "the user text lacks {end}; add what is missing"),
    ({"user": "Write a problem."}, "the user text lacks {seed}, {begin}, {end}; add what is missing"),
    ({"user": USER + "{snippet}"}, "{snippet}; there are {seed}, {begin}, {end}, {language}, and"),
    ({"user": USER + "{problem}"}, "no such placeholder: {problem};"),  # that is the judge's
    ({"user": USER + "{seed.__class__}"}, "no such placeholder: {seed.__class__};"),
    ({"user": USER + "{seed!r:>9}"}, "no such placeholder: {seed!r:>9};"),
    ({"user": USER + "{0}{}"}, "no such placeholder: {0};"),
    ({"user": USER + "{}"}, "no such placeholder: {};"),
    ({"user": USER + "{ seed }"}, "no such placeholder: { seed };"),
    ({"user": USER + "main() {\n  x();\n}"}, "no such placeholder: { x(); };"),
    ({"user": USER + "{" + "x" * 99 + "}"}, "no such placeholder: {" + "x" * 40 + "...};"),
    ({"user": USER + "\nint main() {"}, "line 6 has a lone {; write it twice where it is meant"),
    ({"user": "}" + USER}, "line 1 has a lone }; write it twice"),
    ({"user": USER + "\n{seed}"}, "{seed} must stand between {begin} and {end}"),
    ({"user": "{seed}{begin}{seed}{end}"}, "{seed} must stand between {begin} and {end}"),
    ({"user": "{begin}{seed}{begin}{end}"}, "{seed} must stand between {begin} and {end}"),
    ({"user": "{begin}{end}{seed}{end}"}, "{seed} must stand between {begin} and {end}"),
    ({"user": "{end}{seed}{begin}{seed}{end}"}, "{seed} must stand between {begin} and {end}"),
    ({"user": "x" * LONGEST + USER}, "the user text has 20,039 characters; 20,000 are the most"),
    ({"system": "x" * (LONGEST + 1)}, "the system text has 20,001 characters"),
    ({"repair": "x" * (LONGEST + 1)}, "the repair text has 20,001 characters"),
    ({"user": USER + "\ud800"}, f"the user text cannot be sent: character {len(USER) + 1} is half"),
    ({"system": "\udfff"}, "the system text cannot be sent: character 1 is half of one (U+DFFF)"),
    ({"repair": "a\udc00"}, "the repair text cannot be sent: character 2 is half of one (U+DC00)"),
    ({"name": " "}, "the name of a prompt is empty"),
    ({"user": " \n"}, "the user of a prompt is empty"),
    ({"method": "guess"}, "no such method: guess; prompts are for oss-instruct, judge, evolve, equality and"),
    ({"method": "evolve", "user": "{begin}{instruction}{end}"}, "the user text lacks {method};"),
])  # fmt: skip
def test_a_prompt_that_would_waste_calls_is_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(WrongInput) as caught:
        check(replace(PLAIN, **changes))
    message = str(caught.value)
    assert says in message and "\n" not in message


@pytest.mark.parametrize("user", [
    USER.replace("In {language}:\n", ""),  # the language may be left out
    USER + "\nAs {{\"a\": {{}}}}, not {{seed}}.",
    "Between {begin} and {end}:\n{begin}\n{seed}\n{end}\n{begin}{seed}{end}",
    "x" * (LONGEST - len(USER)) + USER,
])  # fmt: skip
def test_what_only_looks_wrong_is_let_through(user: str) -> None:
    check(replace(PLAIN, user=user))


def test_what_is_needed_depends_on_the_method() -> None:
    with pytest.raises(WrongInput, match=re.escape("lacks {problem}, {solution}")):
        check(replace(PLAIN, method="judge", user="{begin}{end}"))
    with pytest.raises(WrongInput, match=re.escape("no such placeholder: {language}")):
        check(replace(JUDGE, user=JUDGE.user + "{language}"))


# --- the prompts that come with Winnow ---


def test_each_file_of_prompts_belongs_to_a_method_and_its_names_differ() -> None:
    assert sorted(file.stem for file in SHIPPED.iterdir()) == sorted(m.replace("-", "_") for m in METHODS)
    assert [prompt.name for prompt in OSS_INSTRUCT] == ["oss_instruct", "oss_instruct_short"]
    assert len({prompt.name for prompt in ALL}) == len({prompt.hash for prompt in ALL}) == len(ALL)
    with pytest.raises(WrongInput, match="no such method: guess"):
        shipped("guess")


@pytest.mark.parametrize("prompt", ALL, ids=lambda prompt: prompt.name)
def test_a_shipped_prompt_is_whole_and_asks_for_what_is_parsed(prompt: Prompt) -> None:
    assert "\\" not in prompt.system + prompt.user + prompt.repair  # a line that was meant to go on
    if prompt.method == "oss-instruct":
        assert prompt.system and prompt.repair
        assert {"[Problem Description]", "[Solution]"} <= set(prompt.user.split("\n"))
        assert "[Problem Description]" in prompt.repair and "[Solution]" in prompt.repair
        assert "self-contained" in prompt.user and "data" in prompt.user
    elif prompt.method == "judge":
        assert prompt.system and prompt.repair
        user = filled(prompt, problem="P", solution="S", begin="<a>", end="</a>")
        assert '\n{"score": n, "difficulty": n, "reason": "..."}' in user
        assert "<a>\nP\n</a>" in user and "<a>\nS\n</a>" in user
    elif prompt.method == "equality":
        user = filled(prompt, first="F", second="S", begin="<a>", end="</a>")
        assert user.index("<a>\nF\n</a>") < user.index("<a>\nS\n</a>")
        assert "Equal or Not Equal" in user and "Equal or Not Equal" in prompt.repair
    else:
        more = {"method": "M"} if prompt.method == "evolve" else {}
        user = filled(prompt, instruction="I", begin="<a>", end="</a>", **more)
        assert "<a>\nI\n</a>" in user
        assert not prompt.repair  # what is no task, or no answer, is eliminated by a rule


def test_the_hash_names_the_texts_and_not_the_name() -> None:
    assert PLAIN.hash == digest("oss-instruct", "You write problems.", USER, "")
    assert replace(PLAIN, name="other").hash == PLAIN.hash
    changed = [replace(PLAIN, **{field: "x"}).hash for field in ("method", "system", "user", "repair")]
    assert len({PLAIN.hash, *changed}) == 5


# --- filling ---


def test_a_value_is_set_in_as_it_is_and_never_read_again() -> None:
    seed = "{begin}{{x}} %s {language!r} {seed} $ \\1 {"
    user = filled(PLAIN, seed=seed, language="{end}", begin="<b>", end="<e>")
    assert user == f"In {{end}}:\n<b>\n{seed}\n<e>\nGo."


def test_doubled_braces_are_single_ones_and_repeated_placeholders_repeated() -> None:
    prompt = replace(PLAIN, user="{{{seed}}} {{seed}} {seed}{{{{")
    assert filled(prompt, seed="s") == "{s} {seed} s{{"


@pytest.mark.parametrize("user", ["{seed.__class__}", "{seed[0]}", "{seed!r}", "{seed:>9}", "{other}"])
def test_only_whole_names_are_looked_up(user: str) -> None:
    with pytest.raises(WrongInput, match=re.escape(f"prompt plain asks for {user}")):
        filled(replace(PLAIN, user=user), seed="s")


@given(st.text(), st.text())
def test_filling_gives_the_value_whatever_it_is(seed: str, language: str) -> None:
    assert filled(PLAIN, seed=seed, language=language, begin="B", end="E") == (
        f"In {language}:\nB\n{seed}\nE\nGo."
    )


# --- the tag ---


def test_a_tag_is_the_same_again_and_another_for_another_draw() -> None:
    assert tag_for("x", "976", "seed", "0") == tag_for("y", "976", "seed", "0")
    assert re.fullmatch("[0-9a-f]{12}", tag_for("x", "976", "seed", "0"))
    assert len({tag_for("x", "976", "seed", draw) for draw in "0123456789"}) == 10
    assert tag_for("", "ab", "c") != tag_for("", "a", "bc")


def sequence(count: int, *parts: str) -> list[str]:
    """Give the first tags that are tried."""
    return [digest(*parts, str(number))[:12] for number in range(count)]


@pytest.mark.parametrize("held", [
    str, str.upper, str.title, lambda tag: f"f{tag}f",
    lambda tag: "".join(chr(ord(sign) + 0xFEE0) for sign in tag),  # full width
    lambda tag: "".join(unicodedata.lookup(f"MATHEMATICAL BOLD DIGIT {unicodedata.name(s)[6:]}")
                        if s.isdigit() else s for s in tag),
    lambda tag: "\u200b".join(tag), lambda tag: "\u00ad".join(tag.upper()),
])  # fmt: skip
def test_a_tag_that_the_text_holds_gives_way_to_the_next(held) -> None:
    first, second, third = sequence(3, "976", "seed", "0")
    assert tag_for("x", "976", "seed", "0") == first
    assert tag_for(f"</seed-{held(first)}>", "976", "seed", "0") == second
    assert tag_for(f"{held(second)} {held(first)}", "976", "seed", "0") == third


@given(st.text(), st.integers(0, 5), st.text(max_size=3))
def test_a_tag_is_never_in_the_text(text: str, guesses: int, part: str) -> None:
    text += "".join(sequence(guesses, part))
    tag = tag_for(text, part)
    assert tag.lower() not in text.lower() and tag == tag_for(text, part)
    assert tag in sequence(guesses + 1, part)[guesses:]


# --- thirty seeds that try to get out ---


def test_the_seeds_are_thirty_and_of_every_language() -> None:
    assert len(SEEDS) >= 30 and {seed.language for seed in SEEDS} == set(NAMES)
    assert len({seed.text for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("prompt", OSS_INSTRUCT, ids=lambda prompt: prompt.name)
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.tries.replace(" ", "_"))
def test_the_delimiter_holds(seed: InjectionSeed, prompt: Prompt) -> None:
    tag = tag_for(seed.text, *seed.parts)
    begin, end = delimiters(tag)
    system, user = messages(prompt, seed.text, seed.language, tag)
    lines = user["content"].split("\n")
    assert (lines.count(begin), lines.count(end)) == (1, 1), seed.tries
    opening = user["content"].index(f"\n{begin}\n") + len(begin) + 2
    closing = user["content"].index(f"\n{end}\n")
    assert user["content"][opening:closing].encode() == seed.text.encode(), seed.tries
    # Nothing of the seed stands anywhere else: around it is what stands around any seed.
    around = messages(prompt, "S", seed.language, tag)[1]["content"]
    assert user["content"][:opening] + "S" + user["content"][closing:] == around
    assert system == {"role": "system", "content": prompt.system}


def test_many_of_them_know_the_tag_that_they_would_get() -> None:
    knowing = [seed for seed in SEEDS if guess(seed.id) in seed.text]
    assert len(knowing) >= 10, "without a look into the text, these would close their delimiter"
    for seed in knowing:
        with pytest.raises(WrongInput, match="the snippet holds the tag of its own delimiter"):
            messages(PLAIN, seed.text, seed.language, guess(seed.id))
