"""Twins among documents: found as a slow comparison of all pairs finds them, whatever the order."""

import random
import re
import sys
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.document_twins import GRAM, MIN_TOKENS, THRESHOLD, Twin, grams, same_text, similarity, twins

LOOP = """
for (int i = 0; i < n; ++i) {
    total += weights[i] * values[i];
    if (total > limit) { report(i, total); break; }
}
"""


def named(*texts: str) -> list[tuple[str, str]]:
    return [(sha256(text.encode()).hexdigest(), text) for text in texts]


@cache
def slow_grams(text: str) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+", text)
    if len(tokens) < MIN_TOKENS:
        return set()
    return {tuple(tokens[n : n + GRAM]) for n in range(len(tokens) - GRAM + 1)}


def slow_similarity(left: str, right: str) -> float:
    a, b = slow_grams(left), slow_grams(right)
    return len(a & b) / len(a | b) if a and b else 0.0


def slow_twins(documents: list[tuple[str, str]], threshold: float) -> dict[str, Twin]:
    """Walk distinct texts by hash and compare each with every kept one."""
    kept: list[tuple[str, str]] = []
    gone: dict[str, Twin] = {}
    for name, text in sorted(documents):
        alike = [(-slow_similarity(text, other), keeper) for keeper, other in kept]
        score, keeper = min(alike, default=(0.0, ""))
        if -score >= threshold:
            gone[name] = Twin(keeper, -score, "near_duplicate")
        else:
            kept.append((name, text))
    return gone


def mutated(text: str, draw: random.Random, share: float) -> str:
    """Change about this share of the words of a text: other names, words left out, words put in."""
    words = re.split(r"(\W+)", text)
    for n in range(0, len(words), 2):
        if words[n] and draw.random() < share:
            words[n] = draw.choice(["", f"renamed{draw.randint(0, 9)}", f"{words[n]} again"])
    return "".join(words)


@pytest.fixture(scope="module")
def families() -> list[tuple[str, str]]:
    """Some 400 documents: pieces of the standard library, each with copies changed a little to a lot."""
    draw = random.Random(976)
    files = sorted(Path(random.__file__).parent.glob("*.py"))[:60]
    texts: list[str] = []
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")[: draw.choice([400, 1_000, 3_000])]
        texts.append(text)
        for share in (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1):
            texts.append(mutated(text, draw, share))
    return sorted(set(named(*texts)))


def test_a_near_copy_goes_and_names_its_keeper_and_how_alike_they_are():
    text = LOOP * 3 + "\n".join(f"call_{n}(first, second, third);" for n in range(60))
    changed = text.replace("call_30(first", "call_30(another")
    documents = dict(named(text, changed, "def f(x):\n    return g(x, 1, 2, 3, 4, 5, 6, 7, 8, 9)\n"))
    keeper, gone = sorted(name for name, found in documents.items() if "report" in found)

    assert twins(documents.items()) == {gone: Twin(keeper, slow_similarity(text, changed), "near_duplicate")}
    assert slow_similarity(text, changed) > 0.9


@pytest.mark.parametrize("copy", [
    LOOP.replace("\n", "\r\n"),
    LOOP.replace("\n", "\r"),
    LOOP.replace(";\n", ";  \t\n"),
    LOOP + "\n\n  \n",
    LOOP.rstrip(),
])  # fmt: skip
def test_line_ends_and_trailing_space_make_no_new_document(copy):
    keeper, gone = sorted(name for name, _ in named(LOOP, copy))

    assert twins(named(LOOP, copy)) == {gone: Twin(keeper, 1.0, "same_text")}


@pytest.mark.parametrize("other", [
    LOOP.replace("    ", "  "),  # indentation stands at the start of a line
    LOOP.replace("<", ">="),  # other signs, same words
])  # fmt: skip
def test_what_else_differs_is_a_near_duplicate_and_not_the_same_text(other):
    keeper, gone = sorted(name for name, _ in named(LOOP, other))

    assert twins(named(LOOP, other)) == {gone: Twin(keeper, 1.0, "near_duplicate")}


def test_a_short_document_has_only_exact_twins():
    nine, other = "a b c d e f g h i", "a b c d e f g h, i"
    assert twins(named(nine, other)) == {}
    assert [twin.reason for twin in twins(named(nine, nine + " ")).values()] == ["same_text"]
    ten = nine + " j"
    assert [twin.reason for twin in twins(named(ten, ten + ".")).values()] == ["near_duplicate"]


def test_the_same_document_given_twice_is_one_document():
    assert twins([*named(LOOP), *named(LOOP)]) == {}
    assert twins([]) == {}


def test_tables_in_other_alphabets_are_not_twins():
    keys = [f"menu_entry_{n}" for n in range(40)]
    greek = "\n".join(f'"{key}": "{"αβγδεζηθ"[n % 8] * (n + 1)}",' for n, key in enumerate(keys))
    russian = "\n".join(f'"{key}": "{"абвгдежз"[n % 8] * (n + 1)}",' for n, key in enumerate(keys))

    assert re.findall("[A-Za-z_0-9]+", greek) == re.findall("[A-Za-z_0-9]+", russian)
    assert twins(named(greek, russian)) == {}


def test_look_alikes_do_not_chain():
    """a~b and b~c, but not a~c: with b in the middle of the order or at its end, a and c both stay."""
    words = [f"word{n}" for n in range(200)]
    a, b, c = (" ".join(words[start : start + 150]) for start in (0, 10, 20))
    texts = {"a": a, "b": b, "c": c}
    assert slow_similarity(a, b) >= THRESHOLD and slow_similarity(b, c) >= THRESHOLD > slow_similarity(a, c)

    for names in (("1", "2", "3"), ("1", "3", "2")):
        named_so = dict(zip(names, "abc", strict=True))
        found = twins([(name, texts[letter]) for name, letter in named_so.items()])
        assert {named_so[name] for name in found} == {"b"}
    # With b first, it stays for both.
    assert {name: twin.keeper for name, twin in twins([("2", a), ("1", b), ("3", c)]).items()} == {
        "2": "1",
        "3": "1",
    }


def test_of_two_keepers_the_more_alike_one_is_named():
    words = [f"word{n}" for n in range(200)]
    far, near, text = (" ".join(words[start:150]) for start in (16, 4, 2))
    found = twins([("1", far), ("2", near + " x"), ("3", text)], threshold=0.9)

    assert found == {
        "2": Twin("1", slow_similarity(far, near + " x"), "near_duplicate"),
        "3": Twin("1", slow_similarity(far, text), "near_duplicate"),
    }
    closer = twins([("1", far), ("2", near + " x"), ("3", text)], threshold=0.95)
    assert closer == {"3": Twin("2", slow_similarity(near + " x", text), "near_duplicate")}


def test_copies_of_a_text_that_goes_name_a_document_that_stays():
    other = LOOP.replace("break;", "return;") * 2
    base = LOOP * 2
    copies = [("5", base), ("3", base + "\n"), ("1", other)]

    score = slow_similarity(base, other)
    assert twins(copies, threshold=0.5) == {
        "3": Twin("1", score, "near_duplicate"),
        "5": Twin("1", score, "near_duplicate"),
    }


@pytest.mark.parametrize("threshold", [0.7, THRESHOLD, 0.95])
def test_every_pair_that_brute_force_finds_is_found_and_no_other(families, threshold):
    found = twins(families, threshold)
    expected = slow_twins(families, threshold)

    assert len(families) > 300 and len(expected) > 10  # or nothing is proved
    assert found == expected


def test_hardly_a_pair_at_the_threshold_is_missed():
    """300 pairs at 0.864, each with words of its own; bands of 10 numbers would miss one in 14."""
    pairs = [[f"pair{n}word{m}" for m in range(107)] for n in range(300)]
    texts = [" ".join(words[start : start + 100]) for words in pairs for start in (0, 7)]

    assert slow_similarity(*texts[:2]) == 89 / 103
    assert {twin.score for twin in twins(named(*texts)).values()} == {89 / 103}
    assert len(twins(named(*texts))) == 300


def test_pairs_below_the_threshold_were_near(families):
    """The line is drawn between documents that do resemble each other."""
    gone = twins(families, THRESHOLD)
    texts = dict(families)
    kept = [text for name, text in families if name not in gone]
    near = [slow_similarity(a, b) for n, a in enumerate(kept[:80]) for b in kept[:n] if a[:40] == b[:40]]
    assert any(0.6 < score < THRESHOLD for score in near)
    assert all(slow_similarity(texts[name], texts[twin.keeper]) == twin.score for name, twin in gone.items())
    assert not {twin.keeper for twin in gone.values()} & gone.keys()


def test_neither_order_nor_batches_change_the_answer(families, monkeypatch):
    expected = twins(families)
    shuffled = random.Random(1).sample(families, len(families))

    assert twins(shuffled) == expected
    assert twins(iter(families[::-1])) == expected
    monkeypatch.setattr("curation.document_twins.BATCH", 500)
    monkeypatch.setattr("curation.document_twins.TOKEN_HASHES", 50)
    assert twins(shuffled) == expected


def test_the_temporary_file_lies_where_it_is_told_to_and_is_gone_afterwards(tmp_path, families):
    def watched() -> Iterator[tuple[str, str]]:
        yield from families
        if sys.platform == "linux":  # a file without a name is still open
            links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
            assert any(str(link).startswith(str(tmp_path)) for link in links)

    twins(watched(), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_to_the_end(families):
    seen: list[tuple[str, int, int]] = []
    twins(families, show=lambda *step: seen.append(step))

    assert seen[-1][1] == seen[-1][2] >= 300


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01])
def test_a_threshold_that_is_none_is_an_error(threshold):
    with pytest.raises(ValueError, match=r"a threshold lies in \(0, 1\], not at"):
        twins([], threshold)


def test_half_a_character_breaks_nothing():
    half = "\ud800".join(LOOP.split(" "))
    assert twins([("1", half), ("2", LOOP)]) == {"2": Twin("1", 1.0, "near_duplicate")}


def test_a_hostile_text_takes_no_time():
    spaces = "a" + " " * 2_000_000 + "b"
    assert same_text(spaces) == spaces
    assert twins([("1", spaces), ("2", "_" * 2_000_000)]) == {}


WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=40).map(" ".join)


@given(WORDS, WORDS)
def test_similarity_of_hashes_is_that_of_the_grams(left, right):
    assert similarity(grams(left), grams(right)) == slow_similarity(left, right)
    found = grams(left)
    assert len(found) == len(slow_grams(left))
    assert bool(np.all(found[1:] > found[:-1]))


@settings(max_examples=40)
@given(st.lists(WORDS, max_size=12, unique=True), st.sampled_from([THRESHOLD, 1.0]))
def test_any_few_documents_give_what_brute_force_gives(texts, threshold):
    assert twins(named(*texts), threshold) == slow_twins(named(*texts), threshold)
