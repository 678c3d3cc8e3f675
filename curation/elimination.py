"""Elimination: why an evolution is no gain. The four rules of WizardLM (arXiv 2304.12244, section 3.2;
recipes 2.2), and checks of two reproductions as options (recipes 2.9). Pure: a rule and its evidence come
out.

Rules 1 (by its letters) and 4 look at the new task before anybody is paid for an answer; 2 and 3 at that.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

EQUAL, SORRY, EMPTY, LEAK = "equal", "sorry", "empty_answer", "prompt_leak"
EMPTY_TASK, UNREAD = "empty_task", "unread_verdict"

# What people are told of each rule. Those that follow the four are ours: nothing was there to judge by.
RULES: Mapping[str, str] = {
    EQUAL: "says the same as its parent (rule 1)",
    SORRY: "the answer says sorry, in fewer than 80 words (rule 2)",
    EMPTY: "the answer has only punctuation and stop words (rule 3)",
    LEAK: "words of the prompt stand in the task (rule 4)",
    EMPTY_TASK: "nothing came back as a task",
    UNREAD: "the comparison says neither Equal nor Not Equal",
    "short": "has three words or fewer (check: length)",
    "long": "was longer than the reproductions allow (check: length)",
    "language": "begins with a character that is not ASCII (check: language)",
    "apology": "the task itself apologises (check: apology)",
    "modify": "asks to modify something that is not there (check: modify)",
}
CHECKS = ("length", "language", "apology", "modify")  # of the reproductions; none is on unless asked for
SORRY_WORDS = 80  # an answer that says sorry and has fewer words was a struggle (recipes 2.2, rule 2)
FEW_WORDS = 3  # evol-teacher: a task or an answer with no more is dropped (recipes 2.9)
TASK_TOKENS, ALL_TOKENS = 1_000, 2_000  # evol-teacher: tokens of a task; of prompt and answer together
COPIED_WORDS = 7  # words in a row of our prompt that no task has by chance
EXCERPT = 60  # characters shown on each side of what was found

# Words without content, ours to choose: the paper names no list. As they stand between signs, in lower case.
STOP_TEXT = (
    "a about above after again against ain all also am an and any are aren as at be because been "
    "before being below between both but by can could couldn did didn do does doesn doing don down "
    "during each few for from further had hadn has hasn have haven having he her here hers herself "
    "him himself his how i if in into is isn it its itself just may me might mightn more most must "
    "mustn my myself needn no nor not now of off on once only or other our ours ourselves out over "
    "own same shall shan she should shouldn so some such than that the their theirs them themselves "
    "then there these they this those through to too under until up upon us very was wasn we were "
    "weren what when where which while who whom why will with won would wouldn you your yours "
    "yourself yourselves "
)
STOP_WORDS = frozenset(STOP_TEXT.split())
WORD = re.compile(r"[^\W_]+")
CONTRACTED = re.compile(r"['\u2019](?:s|t|d|m|ll|re|ve)\b")  # "they've" is "they", "isn't" is "isn"

# What evolving prompts call their parts (recipes 2.1, 2.9), in any case of letters.
KIND = "prompt|test|task|question|instruction|problem|exercise"
MADE = "given|new|rewritten|revised|updated|modified|translated|created|evolved"
HEADER = re.compile(rf"#+[ \t]*(?:{MADE}|original)[ \t]+(?:{KIND})s?\b[^\n#]{{0,40}}#*", re.I)
PHRASES = (
    re.compile(rf"\b(?:{MADE})\s+prompts?\b", re.I),
    re.compile(r"\b(?:rewritten|evolved)\s+(?:test|task|question|instruction|exercise)s?\b", re.I),
    re.compile(r"\bprogramming\s+test\s+questions?\b", re.I),  # WizardCoder's own words for the task
    re.compile(
        r"\bincreas\w+\s+(?:the\s+)?(?:misdirection|difficulty\s+of\s+the\s+(?:given|original))\b", re.I
    ),
)


@dataclass(frozen=True, slots=True)
class Eliminated:
    """The rule that an evolution fails by, and what shows it."""

    rule: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


# --- of a new task ---


def task_fault(
    task: str, parent: str, prompt: str = "", tokens: int | None = None, checks: Sequence[str] = ()
) -> Eliminated | None:
    """Say which rule a new task fails by, before anybody is asked about it; None: by none.

    `parent`: the old task. `prompt`: what the teacher was sent ("" where nobody knows: an imported row);
    `tokens`: of the reply.
    """
    if not HAS_CONTENT.search(task):
        return Eliminated(EMPTY_TASK, {"characters": len(task)})
    if _plain(task) == _plain(parent):
        return Eliminated(EQUAL, {"by": "its letters: the two differ in white space or case at most"})
    return leak(task, parent, prompt) or _task_check(task, tokens, checks)


HAS_CONTENT = re.compile(r"\w")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def leak(task: str, parent: str = "", prompt: str = "") -> Eliminated | None:
    """Rule 4: find words that were copied from the evolving prompt. What the parent has too is no leak."""
    for pattern in (HEADER, *PHRASES):
        known = {_plain(found.group()) for found in pattern.finditer(parent)}
        for found in pattern.finditer(task):
            if _plain(found.group()) not in known:
                return Eliminated(LEAK, _found(task, found.start(), found.end()))
    span = _copied(task, parent, prompt) if prompt else None
    return Eliminated(LEAK, {**_found(task, *span), "of": "our prompt"}) if span else None


def _copied(task: str, parent: str, prompt: str) -> tuple[int, int] | None:
    """Find COPIED_WORDS words in a row that the prompt has and the parent, which stands in it, has not."""
    old = set(_runs(parent, COPIED_WORDS))
    sent = {run for run in _runs(prompt, COPIED_WORDS) if run not in old}
    words = list(WORD.finditer(task))
    for at, run in enumerate(_runs(task, COPIED_WORDS)):
        if run in sent:
            return words[at].start(), words[at + COPIED_WORDS - 1].end()
    return None


def _runs(text: str, size: int) -> list[tuple[str, ...]]:
    words = [word.casefold() for word in WORD.findall(text)]
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


def _found(text: str, start: int, end: int) -> dict[str, Any]:
    around = text[max(0, start - EXCERPT) : end + EXCERPT]
    return {"found": text[start:end], "start": start, "end": end, "around": around}


def _task_check(task: str, tokens: int | None, checks: Sequence[str]) -> Eliminated | None:
    if "length" in checks:
        if (words := len(task.split())) <= FEW_WORDS:
            return Eliminated("short", {"words": words, "of": "the task"})
        if tokens is not None and tokens >= TASK_TOKENS:
            return Eliminated("long", {"tokens": tokens, "most": TASK_TOKENS - 1, "of": "the task"})
    if "language" in checks and not task.lstrip()[:1].isascii():
        return Eliminated("language", {"character": task.lstrip()[0], "of": "the task"})
    if "apology" in checks and (at := task.casefold().find("sorry")) >= 0:
        return Eliminated("apology", _found(task, at, at + 5))
    if "modify" in checks and task.lstrip().casefold().startswith("modify the"):
        return Eliminated("modify", {"begins": task.lstrip()[:EXCERPT]})
    return None


# --- of its answer ---


def answer_fault(answer: str, tokens: int | None = None, checks: Sequence[str] = ()) -> Eliminated | None:
    """Say which rule an answer fails by; None: by none. `tokens`: of prompt and answer together."""
    words = len(answer.split())
    at = answer.casefold().find("sorry")
    if at >= 0 and words < SORRY_WORDS:
        return Eliminated(SORRY, {**_found(answer, at, at + 5), "words": words})
    plain = CONTRACTED.sub("", answer.casefold())
    if all(word in STOP_WORDS for word in WORD.findall(plain)):
        return Eliminated(EMPTY, {"words": words, "beginning": answer[:EXCERPT]})
    if "length" in checks:
        if words <= FEW_WORDS:
            return Eliminated("short", {"words": words, "of": "the answer"})
        if tokens is not None and tokens >= ALL_TOKENS:
            return Eliminated("long", {"tokens": tokens, "most": ALL_TOKENS - 1, "of": "prompt and answer"})
    if "language" in checks and not answer.lstrip()[:1].isascii():
        return Eliminated("language", {"character": answer.lstrip()[0], "of": "the answer"})
    return None


# --- rule 1, by a model ---

FRAME_TEXT = (
    "answer are both comparison final first instructions is my prompts result second so tasks the "
    "they therefore thus two verdict "
)
FRAME = frozenset(FRAME_TEXT.split())
PIECE = re.compile(r"[.\n;:!]+")


def equality_in(text: str) -> Literal["equal", "not equal"] | None:
    """Read Equal or Not Equal, which holds "Equal"; None: it says neither, or both.

    A verdict is a line or a sentence of its own, in quotes or bold type or framed ("The two tasks are not
    equal."); what explains it may stand around it, as long as it does not speak of equal again. Never
    guesses: "almost equal", "Equal? No" and two verdicts in one reply are none.
    """
    pieces = [_unframed(piece) for piece in PIECE.split(text.casefold()) if WORD.search(piece)]
    speaking = {piece for piece in pieces if "equal" in piece}
    if speaking == {"equal"}:
        return "equal"
    return "not equal" if speaking == {"not equal"} else None


def _unframed(piece: str) -> str:
    words = WORD.findall(SUFFIX.sub(" not", piece.replace("\u2019", "'")))
    while words and words[0] in FRAME:
        words.pop(0)
    return " ".join(words).replace("notequal", "not equal")


SUFFIX = re.compile(r"n't\b")
