"""Cuts are the lines they say, byte for byte; chance is even and the document's own; units are whole."""

import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.cutting import Cut, NoCut, Policy, cut
from curation.errors import WrongInput
from curation.languages import NAMES
from curation.syntax_units import GRAMMARS, MAX_BYTES, units_of

ROOT = Path(__file__).resolve().parents[1]


def named(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def cuts_of(text: str, language: str = "Python", **settings) -> list[Cut]:
    return list(cut(named(text), text, language, Policy(**settings)))


def file_lines(text: str) -> list[bytes]:
    return text.encode().splitlines(keepends=True)


def assert_is_its_lines(found: Cut, text: str) -> None:
    assert found.text.encode() == b"".join(file_lines(text)[found.first_line - 1 : found.last_line])


# --- Magicoder's rule ---


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"line {n}\n" for n in range(400)),
        "".join(f"line {n}\r\n" for n in range(400)),
        "".join(f"line {n}\r" for n in range(400)),
        "a\rb\r\nc\n\r\n\rd\n\ne",
        "\ufeffone\ntwo\n",
        "a\x0cb\u2028c\x0bd\x1ce\x85f\ng\u2029h\n",
        "é" * 300 + "\n" + "中\n" * 300,
        "one line",
        "\n".join(f"line {n}" for n in range(15)),
        "".join(f"line {n}\n" for n in range(15)),
    ],
    ids=["\\n", "\\r\\n", "\\r", "mixed", "bom", "form feeds", "wide", "one line", "15 lines", "15 ended"],
)
def test_a_cut_is_its_lines_byte_for_byte(text):
    lines = file_lines(text)
    for seed in range(60):
        for found in cuts_of(text, random_seed=seed):
            assert 1 <= found.first_line <= found.last_line <= len(lines)
            assert found.last_line - found.first_line < 15
            assert_is_its_lines(found, text)


def test_one_line_is_cut_whole_and_the_whole_of_15_lines_can_be():
    assert cuts_of("x = 1") == [Cut(1, 1, "x = 1")]
    assert cuts_of("x = 1\r\n") == [Cut(1, 1, "x = 1\r\n")]
    text = "x = 1\n" * 15
    assert any(cuts_of(text, random_seed=seed) == [Cut(1, 15, text)] for seed in range(2_000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), ("\n", "whitespace"), (" \t\r\n\x0c\n", "whitespace"), ("\ufeff\n", "whitespace")],
)
def test_a_document_with_nothing_to_cut_says_why(text, reason):
    for kind in ("magicoder", "syntax"):
        found = cut(named(text), text, "Python", Policy(kind))
        assert found == NoCut(reason)
        assert (len(found), list(found), bool(found)) == (0, [], False)


def test_a_blank_snippet_of_a_document_with_code_is_left_out():
    text = "x = 1\n" + "\n" * 200
    found = [cut(named(text), text, "Python", Policy(random_seed=seed)) for seed in range(300)]

    assert NoCut("whitespace") in found
    assert all(cuts == NoCut("whitespace") or cuts[0].first_line == 1 for cuts in found)
    assert any(cuts != NoCut("whitespace") for cuts in found)


def test_start_and_length_are_uniform_and_independent():
    """20,000 documents of 30 lines. A chi-square above its mean by 5 deviations comes once in some 10**5."""
    text = "".join(f"{n}\n" for n in range(30))
    starts, lengths, clipped = Counter(), Counter(), 0
    for n in range(20_000):
        (found,) = cut(named(str(n)), text, "Python", Policy())
        starts[found.first_line] += 1
        if found.first_line <= 16:  # no length is clipped
            lengths[found.first_line, found.last_line - found.first_line + 1] += 1
        elif found.last_line == 30:
            clipped += 1

    def excess(counts: Counter, cells: int) -> float:
        expected = counts.total() / cells
        off = sum((counts[key] - expected) ** 2 / expected for key in counts)
        assert len(counts) == cells
        return (off - (cells - 1)) / (2 * (cells - 1)) ** 0.5

    assert excess(starts, 30) < 5
    assert excess(lengths, 16 * 15) < 5
    # From line s, lengths 31 - s and more reach line 30: (s - 15) of 15, for s = 17..30.
    expected = 20_000 / 30 * sum(s - 15 for s in range(17, 31)) / 15
    assert abs(clipped - expected) < 5 * expected**0.5


def test_a_cut_hangs_on_the_document_and_the_random_seed_alone():
    documents = [("".join(f"{n}.{line}\n" for line in range(200))) for n in range(50)]
    alone = {text: cuts_of(text) for text in documents}

    assert [cuts_of(text) for text in reversed(documents)] == [alone[text] for text in reversed(documents)]
    other = [cuts_of(text, random_seed=1) for text in documents]
    assert sum(one == two for one, two in zip(alone.values(), other, strict=True)) < 5
    assert len({(c.first_line, c.last_line) for (c,) in alone.values()}) > 40


def test_another_process_cuts_the_same():
    text = "".join(f"line {n}\n" for n in range(500))
    program = (
        "from curation.cutting import Policy, cut\n"
        "text = ''.join(f'line {n}\\n' for n in range(500))\n"
        f"(found,) = cut({named(text)!r}, text, 'Python', Policy())\n"
        "print(found.first_line, found.last_line)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    (found,) = cuts_of(text)

    assert done.stdout.split() == [str(found.first_line), str(found.last_line)], done.stderr


def test_the_known_cut_never_changes():
    """Held by value: seeds of last year's run must be found again by next year's code."""
    text = "".join(f"line {n}\n" for n in range(1_000))

    cuts = cut("0" * 64, text, "Python", Policy(per_document=3))
    assert [(c.first_line, c.last_line) for c in cuts] == [(480, 490), (27, 35), (527, 534)]


def test_several_cuts_of_a_document_do_not_overlap_and_begin_with_the_only_one():
    text = "".join(f"line {n}\n" for n in range(60))
    for seed in range(50):
        several = cuts_of(text, random_seed=seed, per_document=3)
        taken = [line for c in several for line in range(c.first_line, c.last_line + 1)]

        assert several[:1] == cuts_of(text, random_seed=seed)
        assert len(several) == 3
        assert len(taken) == len(set(taken))


def test_a_document_too_short_for_several_cuts_gives_fewer():
    assert len(cuts_of("x = 1\n", per_document=4)) == 1
    assert 1 <= len(cuts_of("x = 1\ny = 2\n", per_document=4)) <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "lines"}, "no such policy: lines; there are magicoder and syntax"),
        ({"min_lines": 0}, "between 1 and 1000 lines.*got 0 to 15"),
        ({"min_lines": 16}, "least is not above the most; got 16 to 15"),
        ({"max_lines": 1_001}, "got 1 to 1001"),
        ({"per_document": 0}, "1 or more, not 0"),
    ],
)
def test_a_policy_that_cuts_nothing_is_refused(settings, message):
    with pytest.raises(WrongInput, match=message):
        Policy(**settings)


@given(
    st.lists(st.sampled_from(["a", "é", "中", "\n", "\r", "\r\n", "\x0c", "\u2028", " "])).map("".join),
    st.integers(1, 20),
    st.integers(0, 20),
    st.integers(),
    st.integers(1, 4),
)
def test_any_cut_is_its_lines_and_of_the_length_asked_for(text, least, more, seed, per_document):
    policy = Policy("magicoder", least, least + more, seed, per_document)
    lines = file_lines(text)
    for found in cut(named(text), text, "Python", policy):
        count = found.last_line - found.first_line + 1
        assert count <= policy.max_lines
        assert count >= policy.min_lines or found.last_line == len(lines)
        assert_is_its_lines(found, text)


# --- whole units ---

SHOPS = {
    "Python": '''\
        #!/usr/bin/env python
        import os

        # Say hello.
        # Twice.
        @cached
        @other(1)
        def hello(name):
            """Say it."""
            return f"hello {name}"  # done

        x = 1  # about x, not about short
        def short(): return 1

        class A:
            # about run
            async def run(self):
                def inner():
                    return 1
                return inner
        ''',
    "C++": """\
        #include <vector>
        /// Adds.
        template <typename T>
        T add(T a, T b) {
            return a + b;
        }

        typedef struct {
            int a;
        } Foo;
        int proto(int);
        namespace n {
        // A class.
        class Outer {
        public:
            explicit Outer(int a)
                : a_(a) {}
            int sum() const { return 1; }
        };
        }
        """,
    "Java": """\
        package a;
        /**
         * A shop.
         */
        @Deprecated
        public class Shop {
            private int a; // about a
            public Shop(int a) {
                this.a = a;
            }

            /** Sells. */
            @Override
            public int sell(List<String> x) {
                return a;
            }
            abstract int no();
        }
        record R(int x) { }
        """,
    "TypeScript": """\
        import { a } from "b";
        /** Adds. */
        export function add(a: number): number {
          return a + 1;
        }

        // Twice.
        export const twice = (x: number) => {
          return x * 2;
        };
        @Component({ selector: "a" })
        export class A<T> {
          handler = () => 1;

          // on a click
          @HostListener("click")
          onClick(): void {
            this.list.map((x) => x + 1);
          }
        }
        declare function d(): void;
        """,
    "Shell": """\
        #!/bin/bash
        say() { echo hi; }

        # Says hello.
        hello() {
          echo "hello $1"
        }
        function bye {
          local x=1
          echo bye
        }
        hello world
        """,
    "C#": """\
        using System;
        namespace A
        {
            /// <summary>Sells.</summary>
            [Serializable]
            public class Shop
            {
                public int X { get; set; }
                // Adds.
                [Obsolete("x")]
                public int Add(int a) => X + a;

                public override string ToString()
                {
                    return $"{X}";
                }
            }
        }
        """,
    "Rust": """\
        use std::fmt;
        /// A point.
        /// In the plane.
        #[derive(Debug, Clone)]
        pub struct Point {
            x: i32,
        }

        impl Point {
            /// Makes one.
            #[inline]
            pub fn new(x: i32) -> Self {
                Point { x }
            }
        }
        struct Unit;
        """,
    "PHP": """\
        <?php
        namespace A;
        /**
         * Sells.
         */
        #[Attr]
        final class Shop extends B
        {
            private $x = 1; // one
            // Adds.
            public function add(int $a): int
            {
                return $a + $this->x;
            }
            abstract function no();
        }
        function f() { return fn($x) => $x; }
        """,
    "Swift": """\
        import Foundation
        /// A point.
        @frozen
        public struct Point {
            let x: Int

            /// Makes one.
            init(x: Int) {
                self.x = x
            }
            @discardableResult
            func move(by d: Int) -> Point {
                return Point(x: x + d)
            }
        }
        extension Point: Equatable {
        }
        """,
}
SPANS = {
    "Python": [(4, 10), (13, 13), (15, 20), (16, 20), (18, 19)],
    "C++": [(2, 6), (8, 10), (13, 19), (16, 17), (18, 18)],
    "Java": [(2, 18), (8, 10), (12, 16), (19, 19)],
    "TypeScript": [(2, 5), (7, 10), (11, 20), (13, 13), (15, 19)],
    "Shell": [(2, 2), (4, 7), (8, 11)],
    "C#": [(4, 17), (9, 11), (13, 16)],
    "Rust": [(2, 7), (9, 15), (10, 14)],
    "PHP": [(3, 16), (10, 14), (17, 17)],
    "Swift": [(2, 15), (7, 10), (11, 14), (16, 17)],
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("language", NAMES)
def test_units_are_whole_with_what_stands_above_them(language, line_end):
    text = dedent(SHOPS[language]).replace("\n", line_end)

    assert units_of(text, language) == SPANS[language]


@pytest.mark.parametrize("language", NAMES)
def test_every_unit_that_fits_is_cut_as_often_as_any_other(language):
    text = dedent(SHOPS[language])
    fitting = [span for span in SPANS[language] if 2 <= span[1] - span[0] + 1 <= 7]
    drawn = Counter()
    for n in range(40 * len(fitting)):
        (found,) = cut(str(n), text, language, Policy("syntax", 2, 7))
        assert_is_its_lines(found, text)
        drawn[found.first_line, found.last_line] += 1

    assert sorted(drawn) == fitting
    assert min(drawn.values()) > 15  # 40 expected


def test_several_units_of_a_document_do_not_lie_in_each_other():
    text = dedent(SHOPS["Python"])
    for n in range(30):
        spans = sorted(
            (c.first_line, c.last_line) for c in cut(str(n), text, "Python", Policy("syntax", per_document=9))
        )
        assert (4, 10) in spans and (13, 13) in spans
        assert spans[2:] in ([(15, 20)], [(16, 20)], [(18, 19)])


@pytest.mark.parametrize("text", ["x = 1\n", "def f():\n" + "    x = 1\n" * 20])
def test_no_unit_of_this_length(text):
    assert cut(named(text), text, "Python", Policy("syntax")) == NoCut("no_unit_of_this_length")


def test_a_comment_counts_as_lines_of_its_unit_and_one_after_a_gap_does_not_belong():
    text = "# one\n\n# two\n# three\ndef f():\n    return 1\n"

    assert units_of(text, "Python") == [(3, 6)]
    assert cut("0", text, "Python", Policy("syntax", 1, 3)) == NoCut("no_unit_of_this_length")


@pytest.mark.parametrize(
    ("language", "text", "spans"),
    [
        ("Python", "def good():\n    return 1\n\ndef bad(:\n    return (\n", [(1, 2)]),
        ("C++", "int good() {\n  return 1;\n}\nint bad( {\n  return ;;)\n", [(1, 3)]),
        ("Java", "class A {\n  int good() {\n    return 1;\n  }\n  int bad() { return ( }\n}\n", [(2, 4)]),
        ("Rust", "fn good() -> i32 {\n    1\n}\nfn bad( {\n", [(1, 3)]),
    ],
)
def test_in_a_file_with_mistakes_the_units_without_them_are_used(language, text, spans):
    assert units_of(text, language) == spans


def test_elements_are_read_as_tsx_and_type_assertions_as_typescript():
    element = "export function A() {\n  return <div>{b}</div>;\n}\n"
    assertion = "function a() {\n  return <number>b;\n}\n"

    assert units_of(element, "TypeScript") == [(1, 3)]
    assert units_of(assertion, "TypeScript") == [(1, 3)]


def test_half_a_character_is_no_mistake_of_the_code_around_it():
    text = "x = '\ud800'\ndef f():\n    return 1\n"

    assert units_of(text, "Python") == [(2, 3)]
    (found,) = cut("0", text, "Python", Policy("syntax"))
    assert found == Cut(2, 3, "def f():\n    return 1\n")


def wrapped(piece: str, length: int) -> str:
    """Repeat a piece of code, in lines of some 1,000 characters."""
    line = piece * (1_000 // len(piece)) + "\n"
    return line * (length // len(line))


@pytest.mark.parametrize(
    ("language", "text", "reason"),
    [
        ("Swift", "#" * 2_001, "long_line"),  # unguarded: a second at 16,000, and by the square
        ("Python", "x = 1\n" * (MAX_BYTES // 6 + 1), "too_large"),
        ("Java", wrapped("a<", 190_000), "too_deep"),  # unguarded: 3 s and 2 GB at 15,000
        ("Shell", wrapped("a|", 190_000), "too_deep"),  # unguarded: minutes
        ("C#", wrapped("a{", 190_000), "too_deep"),
        ("Python", "x = (" + wrapped("not ", 100_000) + "1)\n", "too_deep"),
        ("Shell", wrapped("if(a)", 190_000), "too_deep"),  # only the clock ends it
    ],
)
def test_a_hostile_file_is_given_up_quickly(language, text, reason):
    began = time.thread_time()
    found = cut(named(text), text, language, Policy("syntax"))

    assert found == NoCut(reason)
    assert time.thread_time() - began < 3  # the clock's second, and what comes before and after


@given(st.sampled_from(NAMES), st.data())
def test_pieces_of_code_in_any_order_give_whole_lines_within_the_limits(language, data):
    pieces = [piece + "\n" for piece in dedent(SHOPS[language]).split("\n")] + ["\r", "é\n", "{", "}", "\x00"]
    text = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=30)))
    for found in cut(named(text), text, language, Policy("syntax", 2, 9, per_document=3)):
        assert 2 <= found.last_line - found.first_line + 1 <= 9
        assert_is_its_lines(found, text)


def test_every_language_has_a_grammar_and_none_is_loaded_before_it_is_needed():
    assert tuple(GRAMMARS) == NAMES
    program = (
        "import sys\nfrom curation.cutting import Policy, cut\n"
        "cut('0', 'x = 1', 'Python', Policy())\n"
        "print([m for m in sys.modules if m.startswith('tree_sitter')])\n"
        "cut('0', 'x = 1', 'Rust', Policy('syntax'))\n"
        "print(sorted(m for m in sys.modules if m.startswith('tree_sitter_') and '.' not in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.splitlines() == ["[]", "['tree_sitter_rust']"], done.stderr
