"""Second opinions: copied words and copied code, whatever the questions' vectors say."""

from dataclasses import replace
from pathlib import Path

import pytest

from curation.code_fingerprint import fingerprint
from curation.document_twins import grams, similarity
from curation.near_duplicates import near_duplicates
from curation.pair_browser import PairBrowser
from curation.pair_settings import Settings
from curation.records import Sample
from curation.second_opinions import KINDS, beside
from curation.store import samples
from curation.workspace import Workspace

pytestmark = pytest.mark.usefixtures("one_model")

CODE = """def merge_sorted(left, right):
    result = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            result.append(left[i])
            i += 1
        else:
            result.append(right[j])
            j += 1
    return result + left[i:] + right[j:]
"""
RENAMED = """# combine two ascending arrays
def combine(first, second):
    output = []
    a = b = 0
    while a < len(first) and b < len(second):
        if first[a] <= second[b]:
            output.append(first[a])
            a += 1
        else:
            output.append(second[b])
            b += 1
    return output + first[a:] + second[b:]
"""
OTHER_CODE = """class Stack:
    def __init__(self):
        self.items = {}
        self.size = 0

    def push(self, item):
        self.items[self.size] = item
        self.size += 1
        return self

    def pop(self):
        if not self.size:
            raise IndexError("the stack is empty")
        self.size -= 1
        return self.items.pop(self.size)
"""
PROSE = (
    "The boiling point of water depends on the pressure around it: high on a mountain the air is thin, "
    "so water boils at a lower temperature there, and cooking pasta takes several minutes longer."
)
ROWS = {
    "merge": ("Merge two sorted lists.", f"Here is the function:\n```python\n{CODE}```\n"),
    "merge-renamed": ("How would you join ascending arrays while keeping the order?", RENAMED),
    "stack": ("Implement a stack class with push and pop.", f"```python\n{OTHER_CODE}```"),
    "water": ("Why does water boil sooner on a mountain?", PROSE),
    "water-copied": ("Describe how altitude matters in a kitchen.", PROSE + " Enjoy!"),
    "plain": ("Name a colour.", "Red is a colour."),
}


def sample(id: str, instruction: str, response: str) -> Sample:
    return Sample(id, instruction, "", response, "hand.json", None, "hand", "MIT", "imported")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    with made.database.transaction() as connection:
        samples.add(connection, [sample(id, *texts) for id, texts in ROWS.items()])
    return made


def alike(left: str, right: str) -> float:
    return similarity(grams(fingerprint(left)), grams(fingerprint(right)))


def test_code_under_other_names_and_comments_is_the_same_code() -> None:
    assert alike(CODE, RENAMED) == 1.0
    assert alike(CODE, f"Some words.\n```\n{RENAMED}```\nMore words.") == 1.0
    assert alike(CODE, CODE.replace("<=", ">")) < 1.0
    assert alike(CODE, OTHER_CODE) < 0.3


@pytest.mark.parametrize("text", [PROSE, "", "x = 1", "```python\nx = 1\n```", "Red, green; blue."])
def test_what_is_no_code_or_too_little_has_no_fingerprint(text: str) -> None:
    assert fingerprint(text) == ""


@pytest.mark.parametrize(
    "text", ["```", "'" * 5_000, '"\\' * 5_000, "/*" * 5_000, "`" * 5_000, "#" * 5_000, "\ud800"]
)
def test_hostile_text_is_read_to_its_end(text: str) -> None:
    fingerprint(text * 3)


def test_rows_that_repeat_words_or_code_are_found_whatever_their_questions_say(workspace: Workspace) -> None:
    report = near_duplicates(workspace, replace(Settings(), opinions=True)).report
    assert (report["repeat_words"], report["repeat_code"]) == (1, 1)
    browser = PairBrowser.open(workspace)
    assert browser is not None and browser.opinions is not None
    ids = list(ROWS)
    told = {
        (KINDS[one["kind"]], ids[one["left"]], ids[one["right"]]): (float(one["score"]), float(one["cosine"]))
        for one in browser.opinions
    }
    assert set(told) == {("code", "merge", "merge-renamed"), ("words", "water", "water-copied")}
    assert told["code", "merge", "merge-renamed"][0] == pytest.approx(1.0)
    assert 0.85 <= told["words", "water", "water-copied"][0] < 1.0
    for _, cosine in told.values():
        assert cosine < browser.threshold, "cosine alone would have missed it"
    assert report["dropped"] == 0, "an opinion drops nothing"
    assert len(browser.repeats("code", both_stay=True)) == 1


def test_a_run_without_opinions_has_none_and_asks_for_nothing(workspace: Workspace) -> None:
    report = near_duplicates(workspace, Settings()).report
    assert "repeat_words" not in report
    browser = PairBrowser.open(workspace)
    assert browser is not None and browser.opinions is None and not len(browser.repeats("words", False))


def test_beside_a_pair_what_cannot_be_told_is_none() -> None:
    left, right, plain = (sample(id, *ROWS[id]) for id in ("merge", "merge-renamed", "plain"))
    told = beside(left, right)
    assert told.question is None, "fewer than ten words"
    assert told.code == pytest.approx(1.0)
    assert told.response is not None and told.response < 0.5
    assert beside(plain, plain).code is None
