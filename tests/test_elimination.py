"""Elimination: forty replies and the rule that each fails by, or none; verdicts that hold one another."""

from typing import Any

import pytest

from curation.elimination import (
    CHECKS,
    COPIED_WORDS,
    EMPTY,
    EMPTY_TASK,
    EQUAL,
    LEAK,
    RULES,
    SORRY,
    SORRY_WORDS,
    answer_fault,
    equality_in,
    leak,
    task_fault,
)
from curation.heuristics import heuristics
from curation.prompt import delimiters, filled, shipped

PARENT = "Write a function that reverses a string."
BETTER = "Write a function that reverses a string without slicing, in O(1) extra memory."
LONG = " ".join(["word"] * (SORRY_WORDS - 1))

# --- a table of forty replies: what is new tasks, what is answers, what is verdicts ---

TASKS: list[tuple[str, str, str | None]] = [
    ("a gain", BETTER, None),
    ("the parent again", PARENT, EQUAL),
    ("the parent in capitals and other white space", "  WRITE a function\nthat reverses a string. ", EQUAL),
    ("one sign more is not equal by its letters", PARENT + "!", None),
    ("nothing", "", EMPTY_TASK),
    ("signs only", "``` \n --- \n```", EMPTY_TASK),
    ("WizardLM's header", f"#Rewritten Prompt#\n{BETTER}", LEAK),
    ("WizardLM's header without a text", "#Rewritten Prompt#", LEAK),
    ("a header in other letters", f"# REWRITTEN PROMPT #: {BETTER}", LEAK),
    ("evol-teacher's header", f"{BETTER}\n\n#Rewritten Test#", LEAK),
    ("a header with more words", f"#Rewritten Test - Increased Difficulty#\n{BETTER}", LEAK),
    ("a header in Markdown", f"### New Task\n{BETTER}", LEAK),
    ("given prompt", f"Make the given prompt harder: {BETTER}", LEAK),
    ("the created prompt", f"The created prompt is: {BETTER}", LEAK),
    ("a translated prompt", f"Translated prompt: {BETTER}", LEAK),
    (
        "WizardCoder's words",
        f"Increase the difficulty of the given programming test question: {BETTER}",
        LEAK,
    ),
    ("a rewritten test", "The rewritten test adds two new methods: multiplication and division.", LEAK),
    ("misdirection", f"{BETTER} Provide erroneous code to increase misdirection.", LEAK),
    ("a program that prompts", "Prompt the user for a string and reverse it without slicing.", None),
    ("given test cases", "Reverse a string so that all the given test cases pass.", None),
    ("a comment in code", f"{BETTER}\n\n# Example usage\nreverse('abc')", None),
    ("erroneous code is a heuristic, no leak", f"{BETTER}\n\n#Erroneous Code#\ndef f(s): return s", None),
    ("a colour", "Style the page with #newred and print the test.", None),
]

ANSWERS: list[tuple[str, str, str | None]] = [
    ("an answer", "```python\ndef f(s): ...\n```", None),
    ("sorry, short", "I'm sorry, but I cannot help.", SORRY),
    ("sorry in capitals", "SORRY! No.", SORRY),
    ("sorry and 79 words", f"sorry {' '.join(['w'] * (SORRY_WORDS - 2))}", SORRY),
    ("sorry and 80 words", f"sorry {LONG}", None),
    ("sorry in code that is short: the rule knows no code", 'print("Sorry, out of range")', SORRY),
    ("short, and not sorry", "I cannot help.", None),
    ("nothing", "", EMPTY),
    ("signs", "...\n---", EMPTY),
    ("an empty fence", "```\n\n```", EMPTY),
    ("stop words", "You can't have it, and they don't.", EMPTY),
    ("stop words with curly apostrophes", "They\u2019ve been there and it\u2019s not.", EMPTY),
    ("a number", "42", None),
    ("None is a value", "None", None),
    ("one word of another language", "\u662f", None),
]

VERDICTS: list[tuple[str, str | None]] = [
    ("Equal", "equal"),
    ("Not Equal", "not equal"),
    ("not equal.", "not equal"),
    ("**NOT EQUAL**", "not equal"),
    ('"Equal"', "equal"),
    ("NotEqual", "not equal"),
    ("Answer: Not Equal", "not equal"),
    ("The two tasks are not equal.", "not equal"),
    ("They aren't equal", "not equal"),
    ("They aren\u2019t equal", "not equal"),
    ("Not Equal\n\nThe second task adds a bound on memory.", "not equal"),
    ("Equal. Both ask for the same.", "equal"),
    ("Equal? No", None),
    ("almost equal", None),
    ("Equal or Not Equal", None),
    ("Equal\nOn second thought, they are not equal", None),
    ("unequal", None),
    ("The same.", None),
    ("", None),
]


def test_there_are_forty_replies_and_every_rule_has_one() -> None:
    assert len(TASKS) + len(ANSWERS) + len(VERDICTS) >= 40
    met = {rule for *_, rule in (*TASKS, *ANSWERS)}
    assert met >= {EQUAL, SORRY, EMPTY, LEAK, EMPTY_TASK}


@pytest.mark.parametrize("task, rule", [one[1:] for one in TASKS], ids=[one[0] for one in TASKS])
def test_a_new_task_fails_by_the_right_rule(task: str, rule: str | None) -> None:
    found = task_fault(task, PARENT)
    assert (found.rule if found else None) == rule, found


@pytest.mark.parametrize("answer, rule", [one[1:] for one in ANSWERS], ids=[one[0] for one in ANSWERS])
def test_an_answer_fails_by_the_right_rule(answer: str, rule: str | None) -> None:
    found = answer_fault(answer)
    assert (found.rule if found else None) == rule, found


@pytest.mark.parametrize("reply, verdict", VERDICTS)
def test_not_equal_holds_equal_and_is_told_from_it(reply: str, verdict: str | None) -> None:
    assert equality_in(reply) == verdict


def test_evidence_names_the_place() -> None:
    task = f"{BETTER} The given prompt says so."
    found = task_fault(task, PARENT)
    assert found is not None
    assert task[found.evidence["start"] : found.evidence["end"]] == found.evidence["found"] == "given prompt"
    said = answer_fault("Well, sorry.")
    assert said is not None and (said.evidence["found"], said.evidence["words"]) == ("sorry", 2)


def test_what_the_parent_says_is_no_leak() -> None:
    parent = "Parse the given prompt of a shell."
    assert leak("Parse the given prompt of a shell in one pass.", parent) is None
    again = leak("Parse the given prompt of a shell. #Rewritten Prompt#", parent)
    assert again is not None and again.evidence["found"] == "#Rewritten Prompt#"


def test_words_of_our_own_prompt_are_leaks_and_those_of_the_task_in_it_are_not() -> None:
    (prompt,) = shipped("evolve")
    begin, end = delimiters("0123456789ab", "exercise")
    for one in heuristics().values():
        sent = filled(prompt, begin=begin, end=end, instruction=PARENT, method=one.method)
        assert task_fault(BETTER, PARENT, sent) is None, one.name
        assert task_fault(f"{PARENT} Now also for lists.", PARENT, sent) is None, one.name
        copied = " ".join(one.method.split()[: COPIED_WORDS + 3])
        found = task_fault(f"{copied} {BETTER}", PARENT, sent)
        assert found is not None and found.rule == LEAK, one.name
        assert found.evidence["found"] in copied


@pytest.mark.parametrize(
    "check, task, rule",
    [
        ("length", "Sort a list", "short"),
        ("length", "Sort a list quickly", None),
        ("language", "\u5bf9 a list of numbers, sort it", "language"),
        ("language", "Sort: \u5bf9", None),
        ("apology", "Sorry, sort a list of numbers", "apology"),
        ("modify", "Modify the code so that it sorts", "modify"),
        ("modify", "Please modify the code so that it sorts", None),
    ],
)
def test_checks_of_the_reproductions_are_options(check: str, task: str, rule: str | None) -> None:
    assert task_fault(task, PARENT) is None
    found = task_fault(task, PARENT, checks=(check,))
    assert (found.rule if found else None) == rule


def test_tokens_are_an_option_too() -> None:
    def rule(found: Any) -> str | None:
        return found.rule if found else None

    assert rule(task_fault(BETTER, PARENT, tokens=1_000)) is None
    assert rule(task_fault(BETTER, PARENT, tokens=1_000, checks=("length",))) == "long"
    assert rule(task_fault(BETTER, PARENT, tokens=999, checks=("length",))) is None
    assert rule(answer_fault("def f(): return 1", 2_000, ("length",))) == "long"
    assert rule(answer_fault("sorted by key", 10, ("length",))) == "short"
    assert rule(answer_fault("\u00fcber alles geht das hier", 10, ("language",))) == "language"


def test_every_rule_is_told_to_people() -> None:
    assert {EQUAL, SORRY, EMPTY, LEAK, EMPTY_TASK, "unread_verdict"} <= set(RULES)
    assert set(CHECKS) == {"length", "language", "apology", "modify"}
