"""OSS-Instruct (Magicoder, 2312.02120): what is asked of a teacher, and what its reply says.

A reply holds two sections, each under its marker, `[Problem Description]` and `[Solution]`. Two rules read
it. "magicoder" is the published one (src/magicoder/generate_data.py): the first line that holds the marker
anywhere, in upper or lower case, counts, and what else stands on that line is dropped. "winnow" differs where
that loses or mixes up text:

- stricter: a marker inside a closed block of code, in quotes or in the middle of a sentence is no marker, so
  that a problem that quotes `[Solution]` is not cut short there; a second problem behind the first one's
  solution is refused and no part of it; a section of nothing but fences and rules is empty
- kinder: a marker alone on its line goes before one in a sentence that comes earlier, so that a preamble that
  names both spoils nothing; text behind a marker on its line is kept; `\\[Solution\\]`, `[ Solution ]` and
  `[Problem_Description]` count; a block of code around the whole reply is taken off
- line ends become "\\n"; a byte order mark and NUL are left out

Both replace lone surrogates, which nothing can store. Time grows with the length of the reply, whatever it
holds.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from curation.errors import WrongInput
from curation.hidden_characters import HIDDEN
from curation.prompt import Prompt, delimiters
from curation.prompt import messages as sent

PARSER = "1"  # goes up when parse() reads any reply differently, so that kept replies are read again
RULES = ("winnow", "magicoder")
PROBLEM, SOLUTION = "[Problem Description]", "[Solution]"

REASONS = (
    "empty_reply",
    "missing_both_markers",
    "missing_problem_marker",
    "missing_solution_marker",
    "markers_on_one_line",
    "reversed_markers",
    "second_problem",  # a problem marker behind the solution
    "empty_problem",
    "empty_solution",
)
NOTES = (  # by rule "magicoder" only "lone_surrogate"
    "byte_order_mark",  # left out
    "nul",  # left out
    "line_ends",  # \r\n or \r, now \n
    "lone_surrogate",  # now U+FFFD
    "outer_fence",  # a code block around the whole reply, taken off
    "text_before_problem",  # left out
    "text_on_marker_line",  # kept
    "words_around_marker",  # left out
    "second_solution_marker",  # kept inside the solution
    "unclosed_fence",  # a code block that a section opens and does not close
)
LONGEST_EXCERPT = 200  # characters
LONGEST_REPAIR = 8_000  # characters of a reply that are sent back

Evidence = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Parsed:
    """Both sections of a reply, without white space around them."""

    problem: str
    solution: str
    notes: tuple[str, ...] = ()  # of NOTES, in their order


@dataclass(frozen=True, slots=True)
class Unparsed:
    """Why a reply gives no sample."""

    reason: str  # one of REASONS
    # How the reply begins, its characters, and lines (from 1) of markers: those that were found, and under
    # "problem_inside" and "solution_inside" those that stand in code, in quotes or in a sentence.
    evidence: Evidence = field(default_factory=dict)


# --- what is sent ---


def messages(prompt: Prompt, seed_text: str, language: str, tag: str) -> list[dict[str, str]]:
    """Build the call for one seed: a system message, where the prompt has one, and a user message.

    `tag` is `prompt.tag_for(seed_text, ...)`. Raises WrongInput for one that the seed holds, and for a prompt
    with placeholders that `prompt.check` refuses.
    """
    if tag.casefold() in seed_text.casefold():
        raise WrongInput("the snippet holds the tag of its own delimiter; take one from tag_for")
    begin, end = delimiters(tag)
    return sent(prompt, seed=seed_text, language=language, begin=begin, end=end)


def repair_messages(prompt: Prompt, messages: list[dict[str, str]], reply: str) -> list[dict[str, str]]:
    """Build the call that asks for the same answer in the right form (faults.md F21: one try).

    It is the first call with the reply, its first 8,000 characters, and the prompt's repair text behind it.
    Raises WrongInput when the prompt has none.
    """
    if not prompt.repair:
        raise WrongInput(f"prompt {prompt.name} has no repair text; replies that cannot be read are listed")
    said = SURROGATE.sub("\ufffd", reply[:LONGEST_REPAIR])
    return [
        *messages,
        {"role": "assistant", "content": said},
        {"role": "user", "content": prompt.repair},
    ]


# --- reading a reply ---

SURROGATE = re.compile("[\ud800-\udfff]")
LINE_ENDS = re.compile("\r\n?")
Found = tuple[str, str] | Unparsed


def parse(text: str, rule: str = "winnow") -> Parsed | Unparsed:
    """Read problem and solution from a reply, or say why it has none.

    `rule` is one of RULES (see above); another one raises WrongInput. Never raises for what a reply holds.
    """
    if rule not in RULES:
        raise WrongInput(f"no such rule: {rule}; there are {' and '.join(RULES)}")
    notes: set[str] = set()
    clean = _replaced(SURROGATE, "\ufffd", text, "lone_surrogate", notes)
    if rule == "winnow":
        clean = _replaced(LINE_ENDS, "\n", clean, "line_ends", notes)
        clean = _replaced(re.compile("\\A\ufeff+"), "", clean, "byte_order_mark", notes)
        clean = _replaced(re.compile("\0+"), "", clean, "nul", notes)
    if not clean.strip():
        return Unparsed("empty_reply", {"characters": len(text)})
    found = _sections(clean, notes) if rule == "winnow" else _published_sections(clean)
    if isinstance(found, Unparsed):
        beginning: Evidence = {"beginning": clean[:LONGEST_EXCERPT], "characters": len(text)}
        return Unparsed(found.reason, {**beginning, **found.evidence})
    return Parsed(*found, tuple(note for note in NOTES if note in notes))


def _replaced(pattern: re.Pattern[str], by: str, text: str, note: str, notes: set[str]) -> str:
    text, times = pattern.subn(by, text)
    if times:
        notes.add(note)
    return text


def _published_sections(text: str) -> Found:
    """Read a reply as Magicoder does; only the reasons are ours."""
    lines = text.splitlines(keepends=True)
    first: dict[str, int] = {}
    for at, line in enumerate(lines):
        for marker in (PROBLEM, SOLUTION):
            if marker.lower() in line.lower():
                first.setdefault(marker, at)
    if reason := _reason_of_order(first.get(PROBLEM), first.get(SOLUTION)):
        return Unparsed(reason, _lines_of(first.get(PROBLEM), first.get(SOLUTION)))
    problem = "".join(lines[first[PROBLEM] + 1 : first[SOLUTION]]).strip()
    solution = "".join(lines[first[SOLUTION] + 1 :]).strip()
    if problem and solution:
        return problem, solution
    return Unparsed("empty_solution" if problem else "empty_problem", _lines_of(*first.values()))


def _reason_of_order(problem: int | None, solution: int | None) -> str:
    """Say what is wrong with the lines (from 0) of the two markers, or give ""."""
    if problem is None or solution is None:
        if problem is solution:
            return "missing_both_markers"
        return "missing_problem_marker" if problem is None else "missing_solution_marker"
    if problem == solution:
        return "markers_on_one_line"
    return "reversed_markers" if problem > solution else ""


def _lines_of(problem: int | None, solution: int | None) -> dict[str, int]:
    lines = {"problem_line": problem, "solution_line": solution}
    return {name: line + 1 for name, line in lines.items() if line is not None}


# --- our rule: how surely a marker is one ---

ALONE, BEGINS, AMONG, INSIDE = range(4)  # the surest first; INSIDE is none: in code, in quotes, in a sentence

SPACE = r"[^\S\n]"
MARKER = re.compile(
    rf"\\?\[{SPACE}{{0,4}}(?:(?P<problem>problem(?:{SPACE}|[_-]){{1,4}}description)|solution){SPACE}{{0,4}}\\?\]",
    re.IGNORECASE,
)
# What may stand around a marker that is alone: signs of a heading, bold type, a list's number, a tag.
DECORATION = re.compile(r"(?:[\s#*_>~=:.|`-]|\d{1,2}[.)]|</?(?:b|i|em|strong|u|p|h[1-6])>)*", re.IGNORECASE)
INDENTED = re.compile(r" {4}| {0,3}\t")  # Markdown reads such a line as code
QUOTES = "'\"`\u2018\u2019\u201c\u201d\u00ab\u00bb"
# "[solution] = solve()", "[solution][0]", "[Solution](#solution)": code and links, no headings.
CODE_BEHIND = re.compile(rf"[(\[,;)\]}}{QUOTES}]|\s*=(?!=)")
LONGEST_DECORATION = 60  # characters before a marker
LONGEST_COMPANY = 30  # characters before a marker, and behind it, on a line that is no sentence
# What parts a marker from the text behind it; behind a bold marker its closing signs, too.
PLAIN_REST = re.compile(r"\s*(?:[:\u2013\u2014]|-(?=\s))?\s*")
BOLD_REST = re.compile(r"(?:[\s:*_~\u2013\u2014]|-(?=\s))*")


@dataclass(frozen=True, slots=True)
class _Mark:
    """A marker in a reply."""

    is_problem: bool
    surety: int  # ALONE to INSIDE
    line: int  # from 0
    start: int  # of its line, as an offset in the text
    end: int
    rest: str = ""  # what stands behind it on its line and is kept


def _sections(text: str, notes: set[str]) -> Found:
    """Read a reply by our rule. Line numbers are those of the reply, its outer fence included."""
    text = _without_outer_fence(text, notes)
    marks = list(_marks(text))
    problem, solution = _surest(marks, True), _surest(marks, False)
    if problem is None or solution is None or problem.line >= solution.line:
        return _no_sections(marks, problem, solution)
    places = _lines_of(problem.line, solution.line)
    if again := _again(marks, problem):
        return Unparsed("second_problem", {**places, "second_problem_line": again.line + 1})
    first = _section(problem, text[problem.end : solution.start], notes)
    second = _section(solution, text[solution.end :], notes)
    for reason, section in (("empty_problem", first), ("empty_solution", second)):
        if _is_empty(section):
            return Unparsed(reason, places)
    if _again(marks, solution):
        notes.add("second_solution_marker")
    if text[: problem.start].strip():
        notes.add("text_before_problem")
    return first, second


def _surest(marks: list[_Mark], is_problem: bool) -> _Mark | None:
    """Give the surest marker of a kind; of several, the first."""
    ours = [mark for mark in marks if mark.is_problem == is_problem and mark.surety < INSIDE]
    return min(ours, key=lambda mark: mark.surety, default=None)


def _again(marks: list[_Mark], chosen: _Mark) -> _Mark | None:
    """Give the next marker that is as sure as the chosen one, where that is sure enough to mean something."""
    return next(
        (
            mark
            for mark in marks
            if mark.is_problem == chosen.is_problem
            and mark.line > chosen.line
            and mark.surety == chosen.surety < AMONG
        ),
        None,
    )


def _no_sections(marks: list[_Mark], problem: _Mark | None, solution: _Mark | None) -> Unparsed:
    """Say which marker is missing or out of place, and where words like it stand."""
    lines = (problem.line if problem else None, solution.line if solution else None)
    reason, evidence = _reason_of_order(*lines), _lines_of(*lines)
    for mark in marks:
        if mark.surety == INSIDE:
            evidence.setdefault("problem_inside" if mark.is_problem else "solution_inside", mark.line + 1)
    shared = {m.line for m in marks if m.is_problem} & {m.line for m in marks if not m.is_problem}
    if reason.startswith("missing") and shared:
        return Unparsed("markers_on_one_line", {**evidence, "line": min(shared) + 1})
    return Unparsed(reason, evidence)


def _section(mark: _Mark, below: str, notes: set[str]) -> str:
    """Give the text of a section: what stands behind its marker, and below."""
    if mark.surety == BEGINS:
        notes.add("text_on_marker_line")
    elif mark.surety == AMONG:
        notes.add("words_around_marker")
    section = (mark.rest + below).strip()
    if _blocks(section)[1] is not None:
        notes.add("unclosed_fence")
    return section


RULE_SIGNS = "-*_=#> \t"  # a line of nothing else draws a line


def _is_empty(section: str) -> bool:
    """Whether a section has only fences, rules and what cannot be seen."""
    return not any(
        HIDDEN.sub("", line).strip(RULE_SIGNS) and not FENCE.match(line) for line in section.split("\n")
    )


def _marks(text: str) -> Iterator[_Mark]:
    """Give the first marker of each kind on each line that has one."""
    blocks, _ = _blocks(text)
    starts = [start for start, _ in blocks]
    line, counted = 0, 0
    for start, end, found in _marker_lines(text):
        line, counted = line + text.count("\n", counted, start), start
        first = {marker["problem"] is not None: marker for marker in reversed(found)}
        block = bisect_right(starts, start) - 1
        in_code = block >= 0 and blocks[block][1] > start
        for is_problem, marker in first.items():
            surety = INSIDE
            if not in_code and len(first) == 1 and marker.start() - start <= LONGEST_DECORATION:
                surety = _surety(text[start : marker.start()], text[marker.end() : end])
            rest = ""
            if surety == BEGINS:
                rest = _rest(text[start : marker.start()], text[marker.end() : end])
            yield _Mark(is_problem, surety, line, start, end, rest)


def _marker_lines(text: str) -> Iterator[tuple[int, int, list[re.Match[str]]]]:
    """Give start and end of each line that holds markers, and these."""
    start, end, found = 0, -1, list[re.Match[str]]()
    for marker in MARKER.finditer(text):
        if marker.start() > end:
            if found:
                yield start, end, found
            start = text.rfind("\n", 0, marker.start()) + 1
            end = text.find("\n", marker.end())
            end, found = len(text) if end < 0 else end, []
        found.append(marker)
    if found:
        yield start, end, found


def _surety(before: str, behind: str) -> int:
    """Say how surely a marker is one from what stands before and behind it on its line."""
    indented = INDENTED.match(before) is not None
    begins = DECORATION.fullmatch(before) is not None
    if begins and len(behind) <= LONGEST_DECORATION and DECORATION.fullmatch(behind):
        return AMONG if indented else ALONE
    if before[-1:] in tuple(QUOTES) or CODE_BEHIND.match(behind):
        return INSIDE
    if begins and not indented:
        return BEGINS
    apart = DECORATION.fullmatch(before[-1:]) is not None
    return AMONG if apart and max(len(before), len(behind)) <= LONGEST_COMPANY else INSIDE


def _rest(before: str, behind: str) -> str:
    """Give the text behind a marker that begins its line, without what parts the two."""
    if not set(before) & set("*_~"):
        return PLAIN_REST.sub("", behind, count=1)
    return BOLD_REST.sub("", behind, count=1).rstrip("*_~ \t")


# --- blocks of code between fences ---

FENCE = re.compile(r"^[ \t]*(?P<signs>`{3,}+(?=[^`\n]*$)|~{3,})(?P<info>[^\n]*)$", re.MULTILINE)
Block = tuple[int, int]  # offsets of its first fence's begin and its last one's end


def _blocks(text: str) -> tuple[list[Block], re.Match[str] | None]:
    """Give the blocks of code of a text, and the fence that none closes.

    A fence with a language opens a block even where one is open: that one was never closed and hides nothing.
    """
    blocks: list[Block] = []
    opening: re.Match[str] | None = None
    for fence in FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif fence["signs"].startswith(opening["signs"]):
            if fence["info"].strip():
                opening = fence
            else:
                blocks.append((opening.start(), fence.end()))
                opening = None
    return blocks, opening


def _without_outer_fence(text: str, notes: set[str]) -> str:
    """Take off the block of code that a reply stands in as a whole; its fences leave empty lines."""
    opening = FENCE.search(text)
    if opening is None or MARKER.search(text, 0, opening.start()):
        return text
    decoration = DECORATION.match(text, opening.end(), opening.end() + LONGEST_DECORATION)
    marker = MARKER.match(text, decoration.end() if decoration else opening.end())
    if marker is None or not marker["problem"]:
        return text
    within = text[opening.end() :]
    _, closing = _blocks(within)
    if closing is None or closing["info"].strip() or not closing["signs"].startswith(opening["signs"]):
        return text
    if _are_parted(within):
        return text
    notes.add("outer_fence")
    return text[: opening.start()] + within[: closing.start()] + within[closing.end() :]


def _are_parted(within: str) -> bool:
    """Whether each section may have a block of its own: bare fences only, one just before the solution."""
    marker = next((marker for marker in MARKER.finditer(within) if not marker["problem"]), None)
    fences = list(FENCE.finditer(within, 0, marker.start())) if marker else []
    if not marker or not fences or any(fence["info"].strip() for fence in fences):
        return False
    return DECORATION.fullmatch(within[fences[-1].end() : marker.start()][:LONGEST_DECORATION]) is not None


# --- what of the seed survived ---

MOST_COMPARED = 20_000  # characters of each text
WORD = re.compile(r"\w+|\s+|[^\w\s]")


def shared_blocks(seed: str, text: str, least: int = 12) -> list[tuple[int, int, int]]:
    """List what a text took over from its seed: (start in the seed, start in the text, characters), in order.

    The seed is read from its begin. Each block is the longest that begins there and stands anywhere in the
    text, so that lines that changed places are found (difflib keeps to one order, and takes hours over texts
    that repeat themselves). Blocks begin and end with a whole word or sign, have at least `least` characters
    that are no white space, and do not overlap in the seed. The first 20,000 characters of each are compared.
    """
    ours, theirs = WORD.findall(seed[:MOST_COMPARED]), WORD.findall(text[:MOST_COMPARED])
    # Each word becomes one character, so that finding a text finds whole words.
    numbers = {word: number for number, word in enumerate({*ours, *theirs})}
    sought, held = ("".join(chr(numbers[word]) for word in words) for words in (ours, theirs))
    begins, held_begins = ([0, *accumulate(map(len, words))] for words in (ours, theirs))
    visible = [0, *accumulate(0 if word.isspace() else len(word) for word in ours)]
    blocks: list[tuple[int, int, int]] = []
    at = 0
    while at < len(ours):
        shortest = bisect_left(visible, visible[at] + max(least, 1))
        if shortest >= len(visible) or ours[at].isspace() or sought[at:shortest] not in held:
            at += 1
            continue
        end = _longest(sought, held, at, shortest)
        end = next(n for n in range(end, at, -1) if not ours[n - 1].isspace())
        place = held.index(sought[at:end])
        blocks.append((begins[at], held_begins[place], begins[end] - begins[at]))
        at = end
    return blocks


def _longest(sought: str, held: str, start: int, end: int) -> int:
    """Give the greatest end for which sought[start:end] stands in `held`; it does for the end given."""
    beyond = len(sought) + 1
    while end + 1 < beyond:
        middle = (end + beyond) // 2
        if sought[start:middle] in held:
            end = middle
        else:
            beyond = middle
    return end
