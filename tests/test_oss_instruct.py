"""A reply gives problem and solution or the right reason; what of its seed survived is found."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation.errors import WrongInput
from curation.oss_instruct import (
    LONGEST_REPAIR,
    MOST_COMPARED,
    NOTES,
    REASONS,
    RULES,
    Parsed,
    Unparsed,
    messages,
    parse,
    repair_messages,
    shared_blocks,
)
from curation.prompt import Prompt, shipped

P, S = "[Problem Description]", "[Solution]"
CODE = "```python\ndef add(a, b):\n    return a + b\n```"
GOOD = f"{P}\nAdd two numbers.\n\n{S}\n{CODE}\n"


# --- what is sent ---


def test_a_call_is_a_system_and_a_user_message() -> None:
    prompt = Prompt("p", "oss-instruct", "You write.", "In {language}:\n{begin}\n{seed}\n{end}")
    assert messages(prompt, "x = 1\n", "Rust", "0123456789ab") == [
        {"role": "system", "content": "You write."},
        {"role": "user", "content": "In Rust:\n<seed-0123456789ab>\nx = 1\n\n</seed-0123456789ab>"},
    ]
    (user,) = messages(replace(prompt, system=""), "x", "Rust", "0123456789ab")
    assert user["role"] == "user"


def test_a_repair_is_the_first_call_with_the_reply_and_the_request_behind_it() -> None:
    prompt = shipped("oss-instruct")[0]
    first = messages(prompt, "x", "Python", "0123456789ab")
    again = repair_messages(prompt, first, "y" * 9_000)
    assert again[:2] == first and len(first) == 2
    assert again[2] == {"role": "assistant", "content": "y" * LONGEST_REPAIR}
    assert again[3] == {"role": "user", "content": prompt.repair}
    assert repair_messages(prompt, first, "a\ud800")[2]["content"] == "a\ufffd"  # else it could not be sent
    with pytest.raises(WrongInput, match="prompt oss_instruct has no repair text"):
        repair_messages(replace(prompt, repair=""), first, "y")


# --- replies that are read ---

INDENTED = CODE.replace("\n", "\n    ")
# Reply, problem, solution, notes.
READ = {
    "as asked for": (GOOD, "Add two numbers.", CODE, ()),
    "headings": (GOOD.replace(P, f"## {P}").replace(S, f"### {S} ###"), "Add two numbers.", CODE, ()),
    "bold": (GOOD.replace(P, f"**{P}**").replace(S, f"__{S}:__"), "Add two numbers.", CODE, ()),
    "a numbered list": (GOOD.replace(P, f"1. {P}").replace(S, f"2) **{S}**"), "Add two numbers.", CODE, ()),
    "tags": (GOOD.replace(P, f"<h2>{P}</h2>"), "Add two numbers.", CODE, ()),
    "quoted lines": (GOOD.replace(P, f"> {P}"), "Add two numbers.", CODE, ()),
    "capitals": (GOOD.replace(P, P.upper()).replace(S, S.lower()), "Add two numbers.", CODE, ()),
    "spaces inside": (GOOD.replace(P, "[ Problem  Description ]"), "Add two numbers.", CODE, ()),
    "escaped brackets": (GOOD.replace(S, r"\[Solution\]"), "Add two numbers.", CODE, ()),
    "a marker in backticks": (GOOD.replace(S, f"`{S}`"), "Add two numbers.", CODE, ()),
    "CRLF": (GOOD.replace("\n", "\r\n"), "Add two numbers.", CODE, ("line_ends",)),
    "lone returns": (GOOD.replace("\n", "\r"), "Add two numbers.", CODE, ("line_ends",)),
    "a byte order mark": ("\ufeff" + GOOD, "Add two numbers.", CODE, ("byte_order_mark",)),
    "NUL": (GOOD.replace("two", "t\0wo"), "Add two numbers.", CODE, ("nul",)),
    "NUL in a marker": (GOOD.replace(S, "[Sol\0ution]"), "Add two numbers.", CODE, ("nul",)),
    "half a character": (GOOD.replace("two", "\ud83d"), "Add \ufffd numbers.", CODE, ("lone_surrogate",)),
    "words before": (f"Sure!\n\n{GOOD}", "Add two numbers.", CODE, ("text_before_problem",)),
    "a preamble that names both": (
        f"Two sections, {P} and {S}.\n\n{GOOD}", "Add two numbers.", CODE, ("text_before_problem",)),
    "one fence around all": (f"```\n{GOOD}```", "Add two numbers.", CODE, ("outer_fence",)),
    "one fence with a language": (f"```markdown\n\n# {GOOD}```\n", "Add two numbers.", CODE,
                                  ("outer_fence",)),
    "one fence, no code": (f"~~~\n{P}\nWhy?\n{S}\nSo.\n~~~", "Why?", "So.", ("outer_fence",)),
    "one longer fence": (f"````\n{GOOD}````", "Add two numbers.", CODE, ("outer_fence",)),
    "one fence and words around it": (
        f"Here:\n```\n{P}\nWhy?\n{S}\nSo.\n```\nBye.", "Why?", "So.\n\nBye.",
        ("outer_fence", "text_before_problem")),
    "one fence with a block inside": (
        f"```\n{P}\nWhy\n```c\nx\n```\n{S}\nSo.\n```", "Why\n```c\nx\n```", "So.", ("outer_fence",)),
    "one fence that is not closed": (
        f"```markdown\n{GOOD}", "Add two numbers.", CODE, ("text_before_problem",)),
    "the solution's marker in a block of code": (
        f"{P}\nPrint\n```\n{S}\n42\n```\n\n{S}\nprint()", f"Print\n```\n{S}\n42\n```", "print()", ()),
    "both in a block of tildes": (
        f"{P}\nParse\n~~~text\n{P}\n```\n{S}\n~~~\n{S}\nok", f"Parse\n~~~text\n{P}\n```\n{S}\n~~~", "ok", ()),
    "a fence in a longer fence": (
        f"{P}\nRender\n````\n```\n{S}\n```\n````\n{S}\nok", f"Render\n````\n```\n{S}\n```\n````", "ok", ()),
    "a block in a list": (f"{P}\n- As\n    ```\n    {S}\n    ```\n{S}\nok",
                          f"- As\n    ```\n    {S}\n    ```", "ok", ()),
    "indented, as Markdown writes code": (f"{P}\nPrint\n\n    {S}\n    42\n\n{S}\nok",
                                          f"Print\n\n    {S}\n    42", "ok", ()),
    "in a string": (f'{P}\nWhat does print("{S}") do?\n\n{S}\nok', f'What does print("{S}") do?', "ok", ()),
    "alone in quotes": (f'{P}\nPrint\n"{S}"\n\n{S}\nok', f'Print\n"{S}"', "ok", ()),
    "in a sentence": (f"{P}\nWrite {S} first.\n42.\n\n## {S}\nok", f"Write {S} first.\n42.", "ok", ()),
    "at the begin of a sentence": (f"{P}\n{S} comes first.\n\n{S}\nok", f"{S} comes first.", "ok", ()),
    "the solution names the markers": (
        f"{P}\nWhy?\n{S}\n```python\nprint('{P}')\n{P}\n{S}\n```", "Why?",
        f"```python\nprint('{P}')\n{P}\n{S}\n```", ()),
    "a link to a section": (f"{P}\nSee [Solution](#so).\n\n{S}\nok", "See [Solution](#so).", "ok", ()),
    "an index": (f"{P}\na[solution]\n[solution] = x\n\n{S}\nok", "a[solution]\n[solution] = x", "ok", ()),
    "text behind a marker": (
        f"{P} Add two.\nOr more.\n{S}: {CODE}", "Add two.\nOr more.", CODE, ("text_on_marker_line",)),
    "a title behind a bold marker": (
        f"**{P} \u2013 Sums**\nAdd.\n**{S}** *p = 1;", "Sums\nAdd.", "p = 1;", ("text_on_marker_line",)),
    "words around a marker": (
        f"Here is the {P}:\nAdd.\nAnd this is the {S}:\nok", "Add.", "ok", ("words_around_marker",)),
    "a comment for a marker": (f"// {P}\nAdd.\n// {S}\nok", "Add.", "ok", ("words_around_marker",)),
    "a fence that is not closed": (
        f"{P}\nAdd.\n{S}\n```python\nx = 1", "Add.", "```python\nx = 1", ("unclosed_fence",)),
    "the problem's is not closed": (
        f"{P}\nAdd to\n```python\nx = 1\n\n{S}\n{CODE}", "Add to\n```python\nx = 1", CODE,
        ("unclosed_fence",)),
    "no other fence": (f"{P}\nAdd to\n```\nx = 1\n\n{S}\nok", "Add to\n```\nx = 1", "ok",
                       ("unclosed_fence",)),
    "a second solution": (f"{GOOD}\n{S}\nOr so.", "Add two numbers.", f"{CODE}\n\n{S}\nOr so.",
                          ("second_solution_marker",)),
    "signs alone are a program, too": (f"{P}\nBrainfuck.\n{S}\n+[+.]", "Brainfuck.", "+[+.]", ()),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_reply_is_read(name: str) -> None:
    reply, problem, solution, notes = READ[name]
    assert parse(reply) == Parsed(problem, solution, notes)
    assert set(notes) <= set(NOTES)


# --- replies that are not ---

MALFORMED = {
    "nothing": ("", "empty_reply", {}),
    "white space": (" \r\n\t\u2003\n", "empty_reply", {}),
    "a byte order mark and NUL": ("\ufeff\0\0", "empty_reply", {}),
    "a refusal": ("I'm sorry, but I can't help with that.", "missing_both_markers", {}),
    "no brackets": ("Problem Description:\nAdd.\n\nSolution:\nok", "missing_both_markers", {}),
    "other brackets": ("(Problem Description)\nAdd.\n(Solution)\nok", "missing_both_markers", {}),
    "other words": ("[Problem]\nAdd.\n[Answer]\nok", "missing_both_markers", {}),
    "another language": ("[Problembeschreibung]\nAddiere.\n[Lösung]\nok", "missing_both_markers", {}),
    "JSON": ('{"problem": "Add.", "solution": "ok"}', "missing_both_markers", {}),
    "JSON with the markers as keys": (f'{{\n"{P}": "Add.",\n"{S}": "ok"\n}}', "missing_both_markers",
                                      {"problem_inside": 2, "solution_inside": 3}),
    "only the solution": (f"Add.\n{S}\nok", "missing_problem_marker", {"solution_line": 2}),
    "a broken marker": (f"[Problem Description\nA.\n{S}\nok", "missing_problem_marker", {"solution_line": 3}),
    "cut off before the solution": (f"{P}\nAdd.", "missing_solution_marker", {"problem_line": 1}),
    "cut off in the marker": (f"{P}\nAdd.\n[Solut", "missing_solution_marker", {"problem_line": 1}),
    "the marker only in a block": (f"{P}\nPrint\n```\n{S}\n```", "missing_solution_marker",
                                   {"problem_line": 1, "solution_inside": 4}),
    "the marker only in quotes": (f"{P}\nPrint\n'{S}'.", "missing_solution_marker", {"solution_inside": 3}),
    "the marker only in a sentence": (f"{P}\nYour output has to end with a line {S} and nothing else.",
                                      "missing_solution_marker", {"solution_inside": 2}),
    "each section in a block": (f"```\n{P}\nAdd.\n```\n\n```\n{S}\nok\n```", "missing_both_markers",
                                {"problem_inside": 2, "solution_inside": 7}),
    "words between these blocks": (f"```\n{P}\nAdd.\n```\nAnd:\n```\n## {S}\nok\n```", "missing_both_markers",
                                   {"problem_inside": 2}),
    "a language on them": (f"```text\n{P}\nAdd.\n```\n```python\n{S}\nok\n```", "missing_both_markers",
                                   {"solution_inside": 6}),
    "all on one line": (f"{P} Add. {S} ok", "markers_on_one_line", {"line": 1}),
    "both headings on one line": (f"## {P} / {S}\nAdd.\nok", "markers_on_one_line", {"line": 1}),
    "the solution first": (f"{S}\nok\n{P}\nA.", "reversed_markers", {"problem_line": 3, "solution_line": 1}),
    "the solution first, then all": (f"{S}\nok\n{GOOD}", "reversed_markers", {"solution_line": 1}),
    "two samples": (GOOD + GOOD, "second_problem", {"second_problem_line": 9}),
    "the problem twice": (f"{P}\nAdd.\n{GOOD}", "second_problem", {"second_problem_line": 3}),
    "no problem": (f"{P}\n\n{S}\nok", "empty_problem", {"problem_line": 1, "solution_line": 3}),
    "a rule for a problem": (f"{P}\n---\n{S}\nok", "empty_problem", {}),
    "hidden signs for a problem": (f"{P}\n\u200b\u2060\n{S}\nok", "empty_problem", {}),
    "no solution": (f"{P}\nAdd.\n{S}\n \n", "empty_solution", {"solution_line": 3}),
    "an empty block for a solution": (f"{P}\nAdd.\n{S}\n```python\n\n```", "empty_solution", {}),
    "a solution cut off at its fence": (f"{P}\nAdd.\n{S}\n```python", "empty_solution", {}),
    "a fence around nothing": (f"```\n{P}\n{S}\n```", "empty_problem", {"problem_line": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_reply_has_its_reason(name: str) -> None:
    reply, reason, evidence = MALFORMED[name]
    found = parse(reply)
    assert isinstance(found, Unparsed) and found.reason == reason
    assert evidence.items() <= found.evidence.items()
    assert found.evidence["characters"] == len(reply)
    if reason != "empty_reply":
        assert str(found.evidence["beginning"])[:5] == reply.removeprefix("\ufeff")[:5]


def test_every_reason_and_every_note_is_seen_above() -> None:
    assert {reason for _, reason, _ in MALFORMED.values()} == set(REASONS) and len(MALFORMED) >= 20
    assert {note for *_, notes in READ.values() for note in notes} == set(NOTES)


# --- the published rule ---


def published(text: str) -> tuple[str, str] | None:
    """Read a reply as the text of recipes.md 1.3 and 1.4 says, written down once more."""
    lines = text.splitlines(keepends=True)
    problems = [n for n, line in enumerate(lines) if "[problem description]" in line.lower()]
    solutions = [n for n, line in enumerate(lines) if "[solution]" in line.lower()]
    if not problems or not solutions or problems[0] >= solutions[0]:
        return None
    problem = "".join(lines[problems[0] + 1 : solutions[0]]).strip()
    solution = "".join(lines[solutions[0] + 1 :]).strip()
    return (problem, solution) if problem and solution else None


PIECES = st.sampled_from([
    P, S, P.upper(), "\n", "\n", "\n", "\r\n", "\r", "\x0c", "\u2028", "```", "```python", "~~~", "    ",
    "## ", "**", "x = 1", '"', "`", "Why?", "\\[solution\\]", "[Problem", "\ufeff", "\0", "\u200b", "---",
    " ", "1. ",
])  # fmt: skip
REPLIES = st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join)


@given(REPLIES)
@example(f"{P}\u2028Add.\x0c{S}\x1cok")
@example(f"{P} {S}\nAdd.\n{P}\n{S}\nok")
def test_the_published_rule_is_as_published(reply: str) -> None:
    found = parse(reply, rule="magicoder")
    stored = "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in reply)
    assert (found if isinstance(found, Unparsed) else (found.problem, found.solution)) == (
        published(stored) or found
    )
    assert isinstance(found, Unparsed) == (published(stored) is None)


@pytest.mark.parametrize("name", ["in a string", "in a sentence", "the solution's marker in a block of code"])
def test_where_ours_is_stricter_the_published_one_cuts_the_problem_short(name: str) -> None:
    theirs, ours = parse(READ[name][0], "magicoder"), parse(READ[name][0])
    assert isinstance(ours, Parsed)
    assert not isinstance(theirs, Parsed) or len(theirs.problem) < len(ours.problem)


@pytest.mark.parametrize("name", ["a preamble that names both", "escaped brackets", "text behind a marker"])
def test_where_ours_is_kinder_the_published_one_drops_the_reply_or_text(name: str) -> None:
    theirs, (reply, problem, *_) = parse(READ[name][0], "magicoder"), READ[name]
    assert isinstance(parse(reply), Parsed)
    assert isinstance(theirs, Unparsed) or theirs.problem != problem


def test_another_rule_is_refused() -> None:
    with pytest.raises(WrongInput, match="no such rule: strict; there are winnow and magicoder"):
        parse(GOOD, "strict")


# --- whatever a reply holds ---


@given(REPLIES, st.sampled_from(RULES))
def test_reading_never_raises_and_a_section_is_never_empty(reply: str, rule: str) -> None:
    found = parse(reply, rule)
    assert parse(reply, rule) == found
    if isinstance(found, Parsed):
        assert found.problem == found.problem.strip() != "" and found.solution == found.solution.strip() != ""
        (found.problem + found.solution).encode()  # can be stored
    else:
        assert found.reason in REASONS


def closed(text: str) -> str:
    """Give a section that closes what it opens and holds no marker."""
    return text.replace("[", "(").replace("`", "'").replace("~", "-").replace("\0", "").strip()


SECTIONS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff")).map(
    closed
)
SECTIONS = SECTIONS.filter(lambda text: any(map(str.isalnum, text)))


@given(SECTIONS, SECTIONS, st.booleans())
def test_a_well_formed_reply_is_read_as_written_and_again(problem: str, solution: str, fenced: bool) -> None:
    if fenced:
        solution = f"```\n{solution}\n```"
    reply = f"{P}\n{problem}\n\n{S}\n{solution}"
    for rule in RULES:
        found = parse(reply, rule)
        assert found == Parsed(problem, solution)
        assert parse(f"{P}\n{found.problem}\n\n{S}\n{found.solution}", rule) == found
    assert parse(f"```\n{reply}\n```") == Parsed(problem, solution, ("outer_fence",))


MEGABYTE = 1_000_000
LONG = {
    "markers on one line": S * (MEGABYTE // 10),
    "markers on lines": f"{P}\n{S}\n" * (MEGABYTE // 33),
    "fences": "```\n" * (MEGABYTE // 4),
    "fences with a language": "```c\n" * (MEGABYTE // 5),
    "one fence of backticks": "`" * MEGABYTE + "x`\n",
    "brackets": "[" * MEGABYTE,
    "half markers": "[problem" * (MEGABYTE // 8),
    "white space": " " * MEGABYTE + S,
    "a fence and white space": "```" + "\n" * MEGABYTE + P,
    "decoration": "1." * (MEGABYTE // 2) + S,
    "rules": f"{P}\n" + "-\n" * (MEGABYTE // 2) + S,
    "both markers on each line": f"x {S} {P}\n" * (MEGABYTE // 35),
}


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_is_read(name: str) -> None:
    for rule in RULES:
        assert isinstance(parse(LONG[name], rule), Unparsed | Parsed)


def test_a_long_solution_is_kept_whole() -> None:
    solution = "x = 1\n" * (MEGABYTE // 6) + "y"
    assert parse(f"{P}\nAdd.\n{S}\n{solution}") == Parsed("Add.", solution)


# --- what of the seed survived ---

SEED = "    def area(self):\n        return self.width * self.height\n\ndef other(a):\n    print(a, 'x')\n"


def shown(seed: str, text: str, least: int = 12) -> list[str]:
    """Give the blocks as text, after a look that both places hold it."""
    blocks = shared_blocks(seed, text, least)
    for start, place, size in blocks:
        assert seed[start : start + size] == text[place : place + size]
    assert all(one[0] + one[2] <= two[0] for one, two in pairwise(blocks)), "they overlap"
    return [seed[start : start + size] for start, _, size in blocks]


def test_blocks_are_found_wherever_they_went() -> None:
    text = "def other(a):\n    print(a, 'x')\n\n  def area(self):\n        return self.width * self.depth\n"
    assert shown(SEED, text) == [
        "def area(self):\n        return self.width * self.",
        "def other(a):\n    print(a, 'x')",
    ]


def test_blocks_are_whole_words_of_some_length() -> None:
    assert shown("return total_of_prices", "return total_of_price", least=7) == []
    assert shown("xreturn total", "return total", least=7) == []
    assert shown("return  total;", "xx return  total;") == ["return  total;"]
    assert shown("return total", "return total", least=12) == []  # 11 signs that can be seen
    assert shown("return total", "return total", least=11) == ["return total"]
    assert shown("a\n" + " " * 40 + "b", "c\n" + " " * 40 + "d") == []
    assert shown("", "x") == shown("x", "") == []
    assert shown("ab cd", "cd", least=0) == ["cd"]


@given(st.text(alphabet="ab \n;(", max_size=60), st.text(alphabet="ab \n;(", max_size=60), st.integers(1, 6))
def test_blocks_are_in_both_texts(seed: str, text: str, least: int) -> None:
    for block in shown(seed, text, least):
        assert len("".join(block.split())) >= least and block == block.strip()


@given(st.text(max_size=60))
def test_a_text_survives_itself(seed: str) -> None:
    visible = "".join(seed.split())
    assert "".join("".join(block.split()) for block in shown(seed, seed, 1)) == visible


@pytest.mark.parametrize("alphabet", [";", "a ", "ab;", "{}()\n ", "abcdefghij  \n()"])
def test_a_megabyte_is_compared_in_its_first_part(alphabet: str) -> None:
    chance = random.Random(976)
    seed = "".join(chance.choices(alphabet, k=MEGABYTE))
    text = "".join(chance.choices(alphabet, k=MEGABYTE))
    blocks = shared_blocks(seed, text)
    assert all(
        start + size <= MOST_COMPARED and place + size <= MOST_COMPARED for start, place, size in blocks
    )
