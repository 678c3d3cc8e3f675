"""Documented functions are found whole, in order, and without running any code."""

import ast
import time
import warnings
from textwrap import dedent

import pytest

from curation.documented_functions import DocumentedFunction, functions_of, standard_library


def found_in(source: str) -> list[DocumentedFunction]:
    return functions_of(dedent(source).encode(), "pkg/mod.py", "pkg.mod")


def the_one_in(source: str) -> DocumentedFunction:
    (function,) = found_in(source)
    return function


def test_a_function_is_found_with_its_place_and_its_texts():
    function = the_one_in('''\
        import os

        @cached
        def area(width, height):
            """Give the area of a rectangle.

            In square metres.
            """

            # both in metres
            return width * height  # no rounding
        ''')

    assert function.qualified_name == "pkg.mod.area"
    assert function.path == "pkg/mod.py"
    assert (function.first_line, function.last_line) == (3, 11)
    assert function.docstring == "Give the area of a rectangle.\n\nIn square metres."
    assert function.code == (
        "@cached\ndef area(width, height):\n    # both in metres\n    return width * height  # no rounding"
    )
    assert function.source_text.startswith('@cached\ndef area(width, height):\n    """Give the area')


def test_methods_are_named_by_their_classes_and_dedented():
    function = the_one_in('''\
        class Outer:
            class Inner:
                async def run(self):
                    """Run until told to stop."""
                    await self.stop()
        ''')

    assert function.qualified_name == "pkg.mod.Outer.Inner.run"
    assert function.code == "async def run(self):\n    await self.stop()"


def test_functions_in_blocks_are_found_and_functions_in_functions_are_not():
    functions = found_in('''\
        try:
            import fast
        except ImportError:
            def speed():
                """Give the slow speed."""
                return 1
        else:
            if fast:
                def speed():
                    """Give the fast speed."""
                    def helper():
                        """Help the outer function."""
                        return 2
                    return helper()
        ''')

    assert [(f.qualified_name, f.first_line) for f in functions] == [
        ("pkg.mod.speed", 4),
        ("pkg.mod.speed", 9),
    ]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('def f(): "Say one word."; return 1\n', "def f(): return 1"),
        ('def f():\n    "Say one word."; return 1\n', "def f():\n    return 1"),
        ('def f():\n    """Say one word."""  # noqa\n    return 1\n', "def f():\n    return 1"),
        ('def f():\n    ("Say " "one "\n     "word.")\n    return 1\n', "def f():\n    return 1"),
        ("def f():\n\tr'''Say one\n\tword.'''\n\treturn 1\n", "def f():\n\treturn 1"),
        ('def f(é="é"): "Sag ein Wört."; return é\n', 'def f(é="é"): return é'),
        (
            'def f():\n    # first\n    """Say one word."""\n    # second\n    return 1\n',
            "def f():\n    # first\n    # second\n    return 1",
        ),
    ],
)
def test_the_docstring_is_cut_out_however_it_is_written(source, code):
    (function,) = functions_of(source.encode(), "m.py", "m")

    assert function.code == code
    assert ast.parse(function.code)


def test_a_multi_line_string_that_starts_further_left_does_not_stop_the_dedenting():
    function = the_one_in('''\
        class C:
            def f(self):
                """Give a short text."""
                return """
        left"""
        ''')

    assert function.code == 'def f(self):\n    return """\nleft"""'


@pytest.mark.parametrize(
    "body",
    [
        "",
        "pass",
        "...",
        "raise NotImplementedError",
        "raise NotImplementedError('later')",
        "pass; ...",
    ],
)
def test_a_body_that_only_holds_a_place_is_left_out(body):
    assert found_in(f'def f():\n    """Say some three words."""\n    {body}\n') == []


def test_a_body_that_raises_something_else_is_kept():
    assert found_in('def f():\n    """Say some three words."""\n    raise ValueError\n')


def test_a_docstring_under_three_words_is_left_out():
    assert found_in('def f():\n    """Two words."""\n    return 1\n') == []
    assert found_in('def f():\n    """Now three words."""\n    return 1\n')


def test_a_docstring_that_no_file_can_hold_is_left_out():
    assert found_in('def f():\n    "Half a character: \\ud800"\n    return 1\n') == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'def f(:\n    """Say one word."""\n    return 1\n',
        b'def f():\n    """Not \xff UTF-8 text."""\n    return 1\n',
        b'# coding: klingon\ndef f():\n    """Say one word."""\n    return 1\n',
        b'def f():\n    """Say one word.\0"""\n    return 1\n',
        b"x = " + b"-" * 100_000 + b"1\n",
        b"x = " + b"(" * 100_000 + b"\n",
        b"x = " + b"a." * 100_000 + b"b\n",
    ],
    ids=["empty", "syntax", "not utf-8", "unknown coding", "null byte", "unary", "parentheses", "attributes"],
)
def test_a_file_that_is_no_python_gives_nothing_and_does_not_crash(data):
    assert functions_of(data, "m.py", "m") == []


def test_a_long_chain_of_elif_is_walked():
    chain = "if a == 0:\n    pass\n" + "".join(f"elif a == {n}:\n    pass\n" for n in range(1, 1_500))
    function = 'else:\n    def f():\n        """Say one word."""\n        return 1\n'

    assert len(functions_of((chain + function).encode(), "m.py", "m")) == 1


def test_other_peoples_invalid_escapes_warn_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert functions_of(b'def f():\n    "Say \\d one word."\n    return 1\n', "m.py", "m")


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_lines_are_counted_as_python_counts_them(line_end):
    source = '# \u2028 \x0c\ndef f():\n    """Say one word."""\n    return 1\n'.replace("\n", line_end)
    (function,) = functions_of(source.encode(), "m.py", "m")

    assert (function.first_line, function.last_line) == (2, 4)
    assert function.code == "def f():\n    return 1"


def test_a_file_in_its_declared_encoding_is_read():
    source = '# coding: latin-1\ndef f(é):\n    """Say one wörd."""; return é\n'
    (function,) = functions_of(source.encode("latin-1"), "m.py", "m")

    assert function.docstring == "Say one wörd."
    assert function.code == "def f(é):\n    return é"


def test_the_code_is_never_run(tmp_path):
    trap = tmp_path / "ran"
    source = f'open({str(trap)!r}, "w")\ndef f():\n    """Say one word."""\n    return 1\n'

    assert functions_of(source.encode(), "m.py", "m")
    assert not trap.exists()


def test_the_standard_library_is_found_whole_and_quickly_and_every_function_is_code():
    start = time.perf_counter()
    functions = list(standard_library())
    seconds = time.perf_counter() - start

    assert len(functions) > 5_000
    assert seconds < 30  # 2.5 s on two quiet cores; the bound only catches a quadratic mistake
    names = {f.qualified_name for f in functions}
    assert {"textwrap.dedent", "json.dumps", "collections.OrderedDict.move_to_end"} <= names
    assert [f.path for f in functions] == sorted(f.path for f in functions)
    assert not {"test", "tests", "idlelib", "site-packages"} & {
        part for f in functions for part in f.path.split("/")
    }


def test_removing_the_docstring_changes_nothing_else_in_the_standard_library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for function in standard_library():
            (whole,) = ast.parse(function.source_text).body
            (without,) = ast.parse(function.code).body
            assert isinstance(whole, ast.FunctionDef | ast.AsyncFunctionDef)
            del whole.body[0]
            assert ast.dump(whole) == ast.dump(without), function.qualified_name
