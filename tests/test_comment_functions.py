"""Comment-function pairs: which functions of nine languages, with their exact texts, and why not others."""

import json
import os
import random
import re
import signal
from collections import Counter
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import comment_functions as pairing
from curation import failpoints
from curation.comment_functions import Found, Settings, comment_functions, found_in
from curation.comment_text import plain, reason_to_leave_out
from curation.cutting import Policy
from curation.errors import WrongInput
from curation.languages import NAMES
from curation.records import digest
from curation.seed_comparison import compare
from curation.seeds import Settings as SeedSettings
from curation.seeds import add_seeds
from curation.store import documents, runs, seed_browsing
from curation.store import seeds as seed_store
from curation.store.documents import UsedDocument
from curation.store.seed_browsing import SeedQuery
from curation.syntax_units import MAX_BYTES, commented_functions
from curation.workspace import Workspace
from tests.seed_projects import MIT, source_of, write

ONE = Settings(workers=1)
LICENCE = "Copyright 2020 The Authors. Licensed under the MIT licence, all of it and to everybody."

# --- nine languages: each file, and what comes of each candidate in line order ---

SHOPS = {
    "Python": (
        "shop.py",
        '''\
        """What the module is for, in some words."""
        # Not asked by this comment.
        @cached
        @other(1)
        def total(rows):
            """Sum the prices of all rows.

            Nothing is rounded.
            """
            return sum(rows)  # done

        class Shop:
            async def run(self):
                """Run until told to stop."""

                # first of all
                def inner():
                    """Say nothing of its own."""
                    return 1
                return inner

            def no(self):
                """Say what subclasses must do."""
                raise NotImplementedError

            def short(self):
                """Two words."""
                return 1

            def later(self):
                """TODO: say what this does."""
                return 2

            def silent(self):
                return 3
        ''',
        [
            (
                "Sum the prices of all rows.\n\nNothing is rounded.",
                "@cached\n@other(1)\ndef total(rows):\n    return sum(rows)  # done",
                "shop.total",
                (3, 10),
            ),
            (
                "Run until told to stop.",
                "async def run(self):\n    # first of all\n    def inner():\n"
                '        """Say nothing of its own."""\n        return 1\n    return inner',
                "shop.Shop.run",
                (13, 20),
            ),
            "stub",
            "short_comment",
            "directive",
        ],
    ),
    "C++": (
        "shop.cpp",
        f"""\
        // {LICENCE}
        int first() {{ return 1; }}

        /// Adds two numbers
        /// of one type.
        // NOLINTNEXTLINE(readability-identifier-length)
        template <typename T>
        [[nodiscard]] T add(T a, T b) {{
            return a + b;
        }}

        int size_; ///< Not about the function below it.
        int proto(int); // Nor is this.
        namespace n {{
        class Shop {{
        public:
            /**
             * Opens the shop,  if it is closed.
             * - twice: nothing
             */
            explicit Shop(int a)
                : a_(a) {{}}

            //! Whether it is open now.

            operator bool() const {{ return a_; }}

            // if (a > 1) {{
            //   return a;
            int old(int a) {{ return a; }}

            // Does nothing at all here.
            void nothing() {{ /* yet */ }}
        }};
        }}
        // A struct is not a function.
        struct MACRO Name {{
            int a;
        }};
        """,
        [
            "licence_header",
            (
                "Adds two numbers\nof one type.",
                "template <typename T>\n[[nodiscard]] T add(T a, T b) {\n    return a + b;\n}",
                "add",
                (4, 10),
            ),
            (
                "Opens the shop,  if it is closed.\n- twice: nothing",
                "explicit Shop(int a)\n    : a_(a) {}",
                "Shop.Shop",
                (17, 22),
            ),
            ("Whether it is open now.", "operator bool() const { return a_; }", "Shop.bool", (24, 26)),
            "commented_out_code",
            "stub",
        ],
    ),
    "Java": (
        "Shop.java",
        """\
        package a;
        public class Shop {
            /** Sells to {@link Buyer}, once.
             *
             * @param x not counted
             */
            @Override
            // of a list, not a set
            @SuppressWarnings("unchecked")
            public int sell(List<String> x) {
                Runnable r = new Runnable() {
                    /** Runs inside of another method. */
                    public void run() { go(); }
                };
                return a;
            }

            /** @return the number of goods */
            int size() { return n; }

            /** @param n the number of goods */
            void size(int n) { this.n = n; }

            /** {@inheritDoc} */
            @Override public String toString() { return "" + n; }

            /** Says what others must do. */
            abstract int no();

            /** Is not there yet at all. */
            int yes() { throw new UnsupportedOperationException("yes"); }
        }
        """,
        [
            (
                "Sells to {@link Buyer}, once.\n\n@param x not counted",
                '@Override\n// of a list, not a set\n@SuppressWarnings("unchecked")\n'
                "public int sell(List<String> x) {\n    Runnable r = new Runnable() {\n"
                "        /** Runs inside of another method. */\n        public void run() { go(); }\n    };\n"
                "    return a;\n}",
                "Shop.sell",
                (3, 16),
            ),
            ("@return the number of goods", "int size() { return n; }", "Shop.size", (18, 19)),
            "short_comment",
            "short_comment",
            "stub",
        ],
    ),
    "TypeScript": (
        "shop.ts",
        """\
        /** @file What this file is for, in some words. */

        export function first(): number { return 1; }

        // Gives twice as much.
        export const twice = (x: number) => {
          return x * 2;
        };

        @Component({ selector: "a" })
        export class Shop {
          /* on a click of the user */
          @HostListener("click")
          onClick(): void {
            this.list.map((x) => x + 1);
          }

          // eslint-disable-next-line no-console
          log(): void { console.log(1); }

          /**
           * Counts the goods.
           */
          @Input() get size(): number { return this.n; }

          // the handler of this shop
          handler = () => 1;

          /// <reference path="not documentation here" />
          other(): number { return 2; }
        }
        // Not a function, this one.
        export interface A { b: string; }
        /** Has no body to show. */
        declare function d(): void;
        // What is called stays part of the call.
        run(() => 1);
        """,
        [
            "file_comment",
            (
                "Gives twice as much.",
                "export const twice = (x: number) => {\n  return x * 2;\n};",
                "twice",
                (5, 8),
            ),
            (
                "on a click of the user",
                '@HostListener("click")\nonClick(): void {\n  this.list.map((x) => x + 1);\n}',
                "Shop.onClick",
                (12, 16),
            ),
            "directive",
            ("Counts the goods.", "@Input() get size(): number { return this.n; }", "Shop.size", (21, 24)),
            ("the handler of this shop", "handler = () => 1", "Shop.handler", (26, 27)),
            "short_comment",
        ],
    ),
    "Shell": (
        "shop.sh",
        """\
        #!/bin/bash
        say() { echo hi; }

        ##############################
        # Cleans the backup folder.
        # Globals:
        #   BACKUP_DIR
        ##############################
        cleanup() {
          rm "${BACKUP_DIR}"
        }
        # echo "$1"
        # exit 1
        function old {
          echo bye
        }
        # Does nothing so far, really.
        nothing() { :; }

        # Too far from what follows it.

        far() { echo far; }
        """,
        [
            (
                "Cleans the backup folder.\nGlobals:\n  BACKUP_DIR",
                'cleanup() {\n  rm "${BACKUP_DIR}"\n}',
                "cleanup",
                (4, 11),
            ),
            "commented_out_code",
            "stub",
        ],
    ),
    "C#": (
        "Shop.cs",
        """\
        namespace A
        {
            /// <summary>A class is no function.</summary>
            public class Shop
            {
                /// <summary>
                /// Adds one number.
                /// </summary>
                /// <param name="a">not counted</param>
                [Obsolete("x")]
                public int Add(int a) => X + a;

                /// <inheritdoc />
                public override string ToString()
                {
                    return $"{X}";
                }

                /// <param name="a">the number to add</param>
                public void Put(int a) { X = a; }

                #region Not above it
                // Is not there at all.
                public int No() { throw new NotImplementedException(); }
                #endregion
            }
        }
        """,
        [
            (
                '<summary>\nAdds one number.\n</summary>\n<param name="a">not counted</param>',
                '[Obsolete("x")]\npublic int Add(int a) => X + a;',
                "Shop.Add",
                (6, 11),
            ),
            "short_comment",
            "short_comment",
            "stub",
        ],
    ),
    "Rust": (
        "shop.rs",
        """\
        //! About the module, not about the function below.
        fn first() -> i32 { 1 }

        #[inline]
        /// Opens the shop.
        #[must_use]
        /// Does so once.
        // SAFETY: nobody else does.
        pub fn open() -> bool {
            true
        }

        impl Shop {
            /// Sells one thing, not two.

            #[test] fn sell(&self) -> i32 {
                /// Helps inside of another one.
                fn help() -> i32 { 2 }
                help()
            }

            /// Is not written so far.
            fn later() { todo!() }
        }
        """,
        [
            (
                "Opens the shop.\nDoes so once.",
                "#[inline]\n#[must_use]\npub fn open() -> bool {\n    true\n}",
                "open",
                (4, 11),
            ),
            (
                "Sells one thing, not two.",
                "#[test] fn sell(&self) -> i32 {\n    /// Helps inside of another one.\n"
                "    fn help() -> i32 { 2 }\n    help()\n}",
                "Shop.sell",
                (14, 20),
            ),
            "stub",
        ],
    ),
    "PHP": (
        "shop.php",
        f"""\
        <?php
        /*
         * {LICENCE}
         */
        function first() {{ return 1; }}

        /**
         * Gives what is left.
         *
         * * of the first shop
         * * of the second
         */
        #[Pure]
        function rest(array $rows): int
        {{
            return count($rows);
        }}

        class Shop {{
            # says hello to somebody
            public function hello($name) {{ return "hello $name"; }}

            // $this->close();
            public function open() {{ $this->open = true; }}
        }}
        """,
        [
            "licence_header",
            (
                "Gives what is left.\n\n* of the first shop\n* of the second",
                "#[Pure]\nfunction rest(array $rows): int\n{\n    return count($rows);\n}",
                "rest",
                (7, 17),
            ),
            (
                "says hello to somebody",
                'public function hello($name) { return "hello $name"; }',
                "Shop.hello",
                (20, 21),
            ),
            "commented_out_code",
        ],
    ),
    "Swift": (
        "shop.swift",
        """\
        import Foundation
        /// Adds two numbers.
        /// - Parameter a: the first
        /// - Returns: their sum
        @discardableResult
        public func add(_ a: Int, _ b: Int) -> Int {
            return a + b
        }

        class Shop {
            /** Opens with so many goods. */
            init(n: Int) {
                self.n = n
            }

            // MARK: - Selling
            func sell() { n -= 1 }

            // Cannot be read from there.
            required init?(coder: NSCoder) {
                fatalError("init(coder:) has not been implemented")
            }
        }
        """,
        [
            (
                "Adds two numbers.\n- Parameter a: the first\n- Returns: their sum",
                "@discardableResult\npublic func add(_ a: Int, _ b: Int) -> Int {\n    return a + b\n}",
                "add",
                (2, 8),
            ),
            (
                "Opens with so many goods.",
                "init(n: Int) {\n    self.n = n\n}",
                "Shop.init",
                (11, 14),
            ),
            "directive",
            "stub",
        ],
    ),
}


def document(text: str, language: str, path: str = "a.x") -> UsedDocument:
    return UsedDocument("ab" * 32, "project", path, language, "MIT", "header", documents.pack(text))


def told(found: Found) -> list[Any]:
    """Give what a test expects of a document: comment, code, function and lines, or the reason."""
    return [
        one
        if isinstance(one, str)
        else (
            one[1].instruction,
            one[1].response,
            one[1].extra.get("function", ""),
            (one[0].first_line, one[0].last_line),
        )
        for one in found.candidates
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("language", NAMES)
def test_what_comes_of_every_candidate(language: str, line_end: str) -> None:
    path, text, expected = SHOPS[language]
    given = document(dedent(text).replace("\n", line_end), language, path)
    assert told(found_in(given, "set")) == expected


def test_the_comment_is_the_nearest_documentation_and_else_the_nearest() -> None:
    text = """\
    // ---- shops of all kinds ----
    /// Not this one, it is farther.

    /* Nor this one. */
    /** Opens the shop. */
    // really, it does
    void a() { b(); }

    // of an older version, it says
    /* Closes the shop. */
    void b() { c(); }

    // Block by itself is enough.
    /* the one above is not part of it */
    # define NO 1
    void c() { d(); }
    """
    found = commented_functions(dedent(text), "C++")
    assert not isinstance(found, str)
    assert [(one.name, one.comment) for one in found] == [("a", "Opens the shop."), ("b", "Closes the shop.")]


@pytest.mark.parametrize(
    ("comments", "text"),
    [
        (["/** One line. */"], "One line."),
        (["/**\n     * A list:\n     *   - of one\n     */"], "A list:\n  - of one"),
        (["/*\n  No stars\n    and deeper\n*/"], "No stars\n  and deeper"),
        (["/*\n* star item\nno star\n*/"], "* star item\nno star"),
        (["/******\n * Boxed.   *\n ******/"], "Boxed."),
        (["/* a **bold** word **/"], "a **bold** word"),
        (["//  Two spaces", "//", "//   more"], "Two spaces\n\n more"),
        (["//====", "// Ruled", "//----", "// still", "//===="], "Ruled\n----\nstill"),
        (["#!x", "#"], "!x"),
        (["/**/"], ""),
        (["/*"], ""),
        (["////"], ""),
    ],
)
def test_signs_and_frames_are_taken_off(comments: list[str], text: str) -> None:
    assert plain(comments) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Print the copyright notice.", None),
        ("Copyright (c) 2019 Somebody Else", "licence_header"),
        ("SPDX-License-Identifier: MIT", "licence_header"),
        ("Sum all.\n\nTODO: be quicker than that", "short_comment"),
        ("Sum all the rows.\nTODO: be quicker than that\nat some time", None),
        ("TODO(me): sum all the rows\nand columns of it", "directive"),
        ("eslint-disable no-console, really no console", "directive"),
        ("@ts-ignore because of the types", "directive"),
        ("ESLint rule that forbids such calls", None),
        ("suppress warnings of missing files", None),
        ("Region of the image to read", None),
        ("#region Reading of images", "directive"),
        ("poorness=1e10 says that ten decimal digits are lost", None),
        ("@return int", "short_comment"),
        ("@returns {boolean} whether it is open", None),
        ("@param a the number to add\n  and its unit of measure", "short_comment"),
        ("@param a the number\n\nIt is added to all.", None),
        ("\\brief Adds the two.", None),
        ("https://example.org/#add-two", "short_comment"),
        ("1 2 3 4 5", "short_comment"),
        ("", "short_comment"),
        ("for (int i = 0; i < n; i++) {\n  run(i);\n}", "commented_out_code"),
        ("x = compute(y);", "commented_out_code"),
        ("Calls compute:\nx = compute(y);", "short_comment"),
        ("Calls compute and keeps what it gives:\nx = compute(y);", None),
        ("if [ -f a ]; then\n  rm a\nfi", "commented_out_code"),
        ("at::add(Tensor a, Tensor b) -> Tensor", "commented_out_code"),
    ],
)
def test_what_a_comment_must_say(text: str, reason: str | None) -> None:
    assert reason_to_leave_out(text, documents=False) == reason


def test_code_in_documentation_is_an_example() -> None:
    example = "Adds all the rows.\n\nadd(1);\nadd(2);\nadd(3);\nadd(4);"
    assert reason_to_leave_out(example, documents=True) is None
    assert reason_to_leave_out(example, documents=False) == "commented_out_code"
    assert reason_to_leave_out("add(1);\nadd(2);", documents=True) == "commented_out_code"


# --- whatever the text ---


def found_in_order(code: str, text: str) -> bool:
    """Whether the lines of a response stand in a text one after the other, indentation aside."""
    left = iter(line.strip() for line in re.split("\r\n|\r|\n", text))
    wanted = (line.strip() for line in code.split("\n") if line.strip())
    return all(any(other.startswith(line) for other in left) for line in wanted)


@pytest.mark.parametrize("language", NAMES)
def test_every_response_stands_in_its_document(language: str) -> None:
    path, text, _ = SHOPS[language]
    text = dedent(text)
    for one in found_in(document(text, language, path), "set").candidates:
        if isinstance(one, str):
            continue
        seed, sample = one
        assert found_in_order(sample.response, text) and not sample.response[0].isspace()
        lines = text.encode().splitlines(keepends=True)
        assert seed.text.encode() == b"".join(lines[seed.first_line - 1 : seed.last_line])
        assert found_in_order(sample.response, seed.text)
        assert set(sample.instruction.split()) <= set(re.split(r"[\s/#*\"]+", seed.text) + seed.text.split())


PIECES = [
    *(
        "/** Says three words. */",
        "// a b c",
        '"""Say three words."""',
        "#",
        "/*",
        "*/",
        "#[m]",
        "@n",
        "é",
        "\0",
    ),
    *("\n", "\n\n", "\r\n", "\r", " ", "    ", "\t", "}", "{", "void f()", "int g(a) { return 1; }"),
    *("fn h() { 1 }", "func i() { j() }", "k() { echo l; }", "class O {", "public", "def p():", "return q"),
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.sampled_from(NAMES))
def test_no_text_is_too_strange(text: str, language: str) -> None:
    for one in found_in(document(text, language), "set").candidates:
        if not isinstance(one, str):
            seed, sample = one
            assert 1 <= seed.first_line <= seed.last_line <= len(text.encode().splitlines())
            assert sample.response.strip() and len(sample.instruction.split()) >= 3
            sample.response.encode()


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("// a b c\nvoid f() { g(); }\n" + " " * MAX_BYTES, "C++", "too_large"),
        ("/* " + "a" * 2_001 + " */\nvoid f() { g(); }\n", "C++", "long_line"),
        ("// a b c\nvoid f() { " + "(" * 1_001 + " }\n", "C++", "too_deep"),
        ("def f(:\n", "Python", "no_python"),
    ],
)
def test_a_document_that_is_not_looked_into_says_why(text: str, language: str, reason: str) -> None:
    assert found_in(document(text, language), "set") == Found(reason=reason)


def test_a_document_without_its_text_says_so() -> None:
    given = UsedDocument("ab" * 32, "project", "a.py", "Python", "MIT", "header", None)
    assert found_in(given, "set") == Found(reason="no_text")


# --- in a workspace ---


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def project(folder: Path, copies: int = 1) -> Path:
    """Write the nine files, in so many forms that are no twins of each other."""
    write(folder, "LICENSE", MIT)
    for language, (name, text, _) in SHOPS.items():
        for n in range(copies):
            stem, _, ending = name.partition(".")
            lines = [f"{sign_for(language)} {' '.join(words(f'{language} {n} {at}'))}" for at in range(60)]
            write(folder, f"{stem}_{n}.{ending}", dedent(text) + "\n" + "\n".join(lines) + "\n")
    return folder


def sign_for(language: str) -> str:
    return "#" if language in ("Python", "Shell", "PHP") else "//"


def words(key: str) -> list[str]:
    chance = random.Random(key)
    return ["".join(chance.choices("abcdefghijklmnop", k=6)) for _ in range(8)]


def rows(workspace: Workspace, table: str) -> list[dict[str, Any]]:
    with workspace.database.reading() as connection:
        found = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY id").mappings().all()
    return [dict(row) for row in found]


def stored(workspace: Workspace) -> list[dict[str, Any]]:
    """Give all samples in the order in which they were kept, with their seeds."""
    seeds = {row["id"]: row for row in rows(workspace, "seed")}
    return [
        {**row, "seed": seeds[row["seed_id"]]}
        for row in sorted(rows(workspace, "sample"), key=lambda r: r["seq"])
    ]


EXPECTED = Counter(one for _, _, found in SHOPS.values() for one in found if isinstance(one, str))
PAIRS = {name: sum(not isinstance(one, str) for one in found) for name, (_, _, found) in SHOPS.items()}


def test_all_documents_of_all_harvests(workspace: Workspace, tmp_path: Path) -> None:
    add_seeds(workspace, str(project(tmp_path / "one")), SeedSettings(workers=1))
    write(tmp_path / "two", "LICENSE", MIT)
    write(tmp_path / "two", "plain.ts", source_of("TypeScript", 1))
    write(tmp_path / "two", "broken.py", "def f(:\n    return 1\n" * 30)
    write(tmp_path / "two", "stubs.py", 'def f():\n    """Say some three words."""\n' + "\n# a comment" * 30)
    add_seeds(workspace, str(tmp_path / "two"), SeedSettings(workers=1))

    report = comment_functions(workspace, ONE).report

    kept = sum(PAIRS.values())
    assert report["requested"] == report["kept"] + sum(report["rejected"].values())
    assert (report["kept"], report["new"], report["documents"]) == (kept, kept, 12)
    assert report["rejected"] == {**EXPECTED, "stub": EXPECTED["stub"] + 1}
    assert report["languages"] == PAIRS and sum(report["languages"].values()) == kept
    assert report["documents_without"] == {"no_commented_function": 1, "no_python": 1, "none_usable": 1}
    assert (report["calls"], report["tokens"]) == (0, 0) and "34.1 -> 34.1" in report["note"]


def test_a_sample_names_its_document_its_licence_and_its_seed(workspace: Workspace, tmp_path: Path) -> None:
    add_seeds(workspace, str(project(tmp_path / "shop")), SeedSettings(workers=1))
    comment_functions(workspace, Settings(name="mine", workers=1))
    (row,) = [row for row in stored(workspace) if json.loads(row["extra"]) == {"function": "Shop.onClick"}]
    seed = row["seed"]
    assert row["id"] == digest(seed["document_hash"], "12-16", "comment-function")
    assert seed["id"] == row["seed_id"] == digest(seed["document_hash"], "12", "16")
    assert (row["source"], row["licence"], row["method"], row["name"], row["row"]) == (
        "shop", "MIT", "comment-function", "mine", None,
    )  # fmt: skip
    assert (seed["path"], seed["method"], seed["language"], seed["licence_evidence"]) == (
        "shop_0.ts", "comment-function", "TypeScript", "licence file",
    )  # fmt: skip
    assert seed["text"].startswith("  /* on a click") and seed["text"].endswith("  }\n")


def test_secrets_stay_replaced(workspace: Workspace, tmp_path: Path) -> None:
    secret = "ghp_" + "".join(random.Random(1).choices("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789", k=36))
    write(tmp_path / "shop", "LICENSE", MIT)
    write(tmp_path / "shop", "a.py", f'def f():\n    """Use {secret} as a token."""\n    return "{secret}"\n')
    add_seeds(workspace, str(tmp_path / "shop"), SeedSettings(workers=1))
    comment_functions(workspace, ONE)
    (row,) = stored(workspace)
    assert row["instruction"] == "Use <KEY> as a token." and row["response"] == 'def f():\n    return "<KEY>"'
    assert secret.encode() not in workspace.database.path.read_bytes()


def test_order_and_limit_hang_on_the_documents_alone(tmp_path: Path) -> None:
    source = project(tmp_path / "shop", 3)
    other = project(tmp_path / "other" / "shop", 3)  # the same documents, of another harvest
    write(tmp_path / "more", "LICENSE", MIT)
    write(tmp_path / "more", "a.rs", source_of("Rust", 3))
    ways = []
    for n, sources in enumerate(([source], [tmp_path / "more", source, other])):
        workspace = Workspace(tmp_path / f"workspace-{n}")
        for one in sources:
            add_seeds(workspace, str(one), SeedSettings(workers=1))
        ids = []
        for limit in (1, 7, 0):
            report = comment_functions(workspace, Settings(limit, workers=1)).report
            assert report["kept"] == (limit or 3 * sum(PAIRS.values()))
            assert report["requested"] == report["kept"] + sum(report["rejected"].values())
            ids.append([row["id"] for row in stored(workspace)])
            assert len(ids[-1]) == report["kept"]
        order = [(row["seed"]["document_hash"], row["seed"]["first_line"]) for row in stored(workspace)]
        assert order == sorted(order)
        assert ids[2][:7] == ids[1] and ids[1][:1] == ids[0]
        ways.append(ids)
    assert ways[0] == ways[1]


def test_one_language_alone(workspace: Workspace, tmp_path: Path) -> None:
    add_seeds(workspace, str(project(tmp_path / "shop")), SeedSettings(workers=1))
    report = comment_functions(workspace, Settings(language="C#", workers=1)).report
    assert report["languages"] == {"C#": 1} and report["rejected"] == {"short_comment": 2, "stub": 1}
    assert report["documents"] == 1 and {row["seed"]["path"] for row in stored(workspace)} == {"Shop_0.cs"}


def test_the_same_again_changes_nothing_and_more_documents_add_theirs(
    workspace: Workspace, tmp_path: Path
) -> None:
    add_seeds(workspace, str(project(tmp_path / "shop")), SeedSettings(workers=1))
    first = comment_functions(workspace, ONE)
    before = stored(workspace)
    again = comment_functions(workspace, Settings(workers=2))
    assert not first.unchanged and again.unchanged and stored(workspace) == before
    assert again.report == {**first.report, "new": 0} and again.run_id == first.run_id

    write(tmp_path / "two", "LICENSE", MIT)
    write(tmp_path / "two", "a.py", 'def f(rows):\n    """Sum all the rows."""\n    return sum(rows)\n')
    add_seeds(workspace, str(tmp_path / "two"), SeedSettings(workers=1))
    more = comment_functions(workspace, ONE)
    assert not more.unchanged and (more.report["new"], more.report["kept"]) == (1, first.report["kept"] + 1)
    assert [row for row in stored(workspace) if row["source"] != "two"] == before


@pytest.mark.parametrize("nth", range(2, 9))
def test_stopped_anywhere_it_comes_to_the_same(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "BATCH", 5)
    source = project(tmp_path / "shop")
    whole, cut = Workspace(tmp_path / "whole"), Workspace(tmp_path / "cut")
    for workspace in (whole, cut):
        add_seeds(workspace, str(source), SeedSettings(workers=1))
    undisturbed = comment_functions(whole, ONE).report

    monkeypatch.setattr(failpoints, "_arrivals", {})
    monkeypatch.setenv("WINNOW_FAULT", f"store.commit:raise:{nth}")
    try:
        comment_functions(cut, ONE)
        was_stopped = False
    except RuntimeError:
        was_stopped = True
    monkeypatch.delenv("WINNOW_FAULT")
    assert was_stopped or failpoints._arrivals["store.commit"] < nth, "there was a commit to fail at"
    acknowledged = stored(cut)
    report = comment_functions(cut, ONE).report

    assert stored(cut) == stored(whole) and stored(cut)[: len(acknowledged)] == acknowledged
    assert report == {**undisturbed, "new": undisturbed["new"] - len(acknowledged) if was_stopped else 0}
    assert comment_functions(cut, ONE).unchanged


found_in_as_ever = found_in


def dies(given: UsedDocument, name: str) -> Found:
    """Look as ever, but die of one document as compiled code does."""
    if given.path == "shop_0.rs":
        os.kill(os.getpid(), signal.SIGKILL)
    return found_in_as_ever(given, name)


def test_a_document_that_kills_its_process_costs_nobody_else(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_seeds(workspace, str(project(tmp_path / "shop")), SeedSettings(workers=1))
    monkeypatch.setattr(pairing, "found_in", dies)
    monkeypatch.setattr(pairing, "READ", 4)
    report = comment_functions(workspace, Settings(workers=2)).report
    assert report["documents_without"] == {"crashed": 1}
    assert report["languages"] == {name: n for name, n in PAIRS.items() if name != "Rust"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"limit": -1}, "--limit -1 must be 0"),
        ({"language": "Cobol"}, "No such language: Cobol; there are Python, C"),
        ({"name": " "}, "needs a name"),
        ({"workers": 65}, "--workers 65"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongInput, match=re.escape(said)):
        Settings(**settings)


def test_nothing_to_read_and_nothing_to_use_are_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match=r"No document was harvested; .*seeds add"):
        comment_functions(workspace)
    write(tmp_path / "shop", "LICENSE", MIT)
    write(tmp_path / "shop", "a.ts", source_of("TypeScript", 1))
    add_seeds(workspace, str(tmp_path / "shop"), SeedSettings(workers=1))
    with pytest.raises(WrongInput, match="No document in Rust was harvested"):
        comment_functions(workspace, Settings(language="Rust"))
    for _ in range(2):  # the second time nothing is done
        with pytest.raises(WrongInput, match="None of 1 documents has a function with a comment"):
            comment_functions(workspace, ONE)


def test_a_run_is_on_record_by_its_settings(workspace: Workspace, tmp_path: Path) -> None:
    add_seeds(workspace, str(project(tmp_path / "shop")), SeedSettings(workers=1))
    some, all_of_them = (
        comment_functions(workspace, Settings(3, workers=1)),
        comment_functions(workspace, ONE),
    )
    names = {runs.read(workspace.database, one.run_id).stage for one in (some, all_of_them)}
    assert len(names) == 2 and all(name.startswith("generate:comment-function:") for name in names)
    assert comment_functions(workspace, Settings(3, workers=1)).unchanged, "both stay current"


# --- beside the seeds of harvests ---

BY_SYNTAX = SeedSettings(Policy("syntax", 1, 40, per_document=50), workers=1)
BY_CHANCE = SeedSettings(Policy(random_seed=7), workers=1)


def seeds_by_method(workspace: Workspace) -> dict[str, int]:
    return dict(seed_browsing.seed_counts(workspace.database, SeedQuery()).facets["method"])


def consistent(workspace: Workspace) -> bool:
    """Whether the page counts what there is, and every sample's seed can be read."""
    counted = seed_browsing.seed_counts(workspace.database, SeedQuery())
    seeds = {row["id"] for row in rows(workspace, "seed")}
    by_method = Counter(row["method"] for row in rows(workspace, "seed"))
    used = {row["seed_id"] for row in rows(workspace, "sample")}
    return (
        counted.total == len(seeds) == seed_store.count(workspace.database)
        and counted.facets["method"] == dict(by_method)
        and used <= seeds
    )


@pytest.mark.parametrize("order", ["harvest first", "pairs first"])
def test_a_seed_that_a_harvest_cuts_from_the_same_lines_is_one_seed(
    order: str, workspace: Workspace, tmp_path: Path
) -> None:
    source = str(project(tmp_path / "shop"))
    add_seeds(workspace, source, BY_SYNTAX if order == "harvest first" else BY_CHANCE)
    if order == "harvest first":
        before = {row["id"]: row for row in rows(workspace, "seed")}
        comment_functions(workspace, ONE)
        used = {row["seed_id"]: row["seed"] for row in stored(workspace)}
        same = set(before) & set(used)
        assert len(same) >= 5 and all(used[id] == before[id] for id in same), "those of the harvest stay"
    else:
        comment_functions(workspace, ONE)
        used = {row["seed_id"]: row["seed"] for row in stored(workspace)}
        snippets = add_seeds(workspace, source, BY_SYNTAX).report["snippets"]
        same = {id for id in used if used[id]["method"] == "comment-function"}
        assert {row["seed_id"]: row["seed"] for row in stored(workspace)} == used, "ours stay"
        shared = snippets - seeds_by_method(workspace)["syntax"]
        assert shared >= 5 and same == set(used), "a harvest's snippet that is ours already is no second seed"
        assert compare(workspace).seeds == [], "nor is it cut again by every later harvest"
    assert consistent(workspace)


def test_no_later_harvest_takes_seeds_that_samples_use(workspace: Workspace, tmp_path: Path) -> None:
    source = project(tmp_path / "shop")
    add_seeds(workspace, str(source), BY_SYNTAX)
    comment_functions(workspace, ONE)
    before = stored(workspace)
    assert consistent(workspace)

    add_seeds(workspace, str(source), BY_CHANCE)  # takes back all that the first harvest cut
    assert stored(workspace) == before and consistent(workspace)
    again = comment_functions(workspace, ONE)
    assert again.unchanged and stored(workspace) == before

    for file in source.glob("*_0.*"):
        file.unlink()
    write(source, "other.ts", source_of("TypeScript", 5))
    add_seeds(workspace, str(source), BY_CHANCE)  # takes back all documents
    assert stored(workspace) == before and consistent(workspace)
    with pytest.raises(WrongInput, match="None of 1 documents"):
        comment_functions(workspace, ONE)
    assert stored(workspace) == before, "what was made stays"
