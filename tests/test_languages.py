"""A path says its language, where needed with its first line; seeds are shared out exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import WrongInput
from curation.languages import DIRECTORIES, LANGUAGES, NAMES, QUOTAS, language_of, quotas


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("src/app.py", "Python"),
        ("typings/app.pyi", "Python"),
        ("SConstruct", "Python"),
        ("a/b/core.cpp", "C++"),
        ("include/core.h", "C++"),
        ("core.hpp", "C++"),
        ("core.c++", "C++"),
        ("Main.java", "Java"),
        ("lib/index.d.ts", "TypeScript"),
        ("App.tsx", "TypeScript"),
        ("index.mts", "TypeScript"),
        ("build.sh", "Shell"),
        ("home/.bashrc", "Shell"),
        ("PKGBUILD", "Shell"),
        ("Shop.cs", "C#"),
        ("main.rs", "Rust"),
        ("index.php", "PHP"),
        ("Point.swift", "Swift"),
        ("MAIN.PY", "Python"),  # extensions are compared without case, as Windows's users write them
        ("core.c", None),
        ("app.js", None),
        ("README.md", None),
        ("notes.py.txt", None),
        ("Makefile", None),
        ("sconstruct", None),  # well-known names are exact
        ("folder.py/data", None),
        (".py", None),  # a name, not an extension
        ("", None),
    ],
)
def test_a_path_says_its_language(path, language):
    assert language_of(path) == language


@pytest.mark.parametrize(
    ("first_line", "language"),
    [
        ("#!/bin/sh", "Shell"),
        ("#! /bin/bash -e", "Shell"),
        ("#!/usr/bin/env zsh", "Shell"),
        ("#!/usr/bin/env python", "Python"),
        ("#!/usr/local/bin/python3.11", "Python"),
        ("#!/usr/bin/env -S LANG=C python3 -u", "Python"),
        ("\ufeff#!/bin/sh\r\n", "Shell"),
        ("#!/usr/bin/php", "PHP"),
        ("#!/usr/bin/env swift", "Swift"),
        ("#!/usr/bin/perl", None),
        ("#!/usr/bin/env node", None),
        ("#!/usr/bin/env", None),
        ("#!/bin/shark", None),
        ("# python", None),
        ("#!", None),
        ("", None),
    ],
)
def test_a_shebang_line_says_it_for_a_file_without_an_extension(first_line, language):
    assert language_of("bin/tool", first_line) == language
    assert language_of("bin/tool-1.2", first_line) == language  # "2" is no extension
    assert language_of("bin/tool.txt", first_line) is None


def test_a_well_known_extension_needs_no_first_line_and_is_not_overruled_by_a_shebang():
    assert language_of("tool.sh", "#!/usr/bin/env python3") == "Shell"


@pytest.mark.parametrize(
    ("path", "first_line"),
    [
        ("po/app_de.ts", '<?xml version="1.0" encoding="utf-8"?>\n'),
        ("po/app_de.ts", "<!DOCTYPE TS>\n"),
        ("hack.php", "<?hh // strict\n"),
    ],
)
def test_an_extension_that_misleads_is_found_out_by_the_first_line(path, first_line):
    assert language_of(path, first_line) is None
    assert language_of(path, "// ordinary\n") is not None


@given(st.text(), st.text())
def test_any_path_and_any_line_give_a_known_name_or_none(path, first_line):
    assert language_of(path, first_line) in (None, *NAMES)


def test_nothing_tells_two_languages_at_once():
    for tells in ("extensions", "file_names", "interpreters"):
        values = [value for language in LANGUAGES for value in getattr(language, tells)]
        assert len(values) == len(set(values)), tells
    assert DIRECTORIES["c-sharp"] == "C#"
    assert DIRECTORIES["cpp"] == "C++"
    assert sorted(DIRECTORIES.values()) == sorted(NAMES)


def test_the_preset_is_magicoders():
    assert NAMES == ("Python", "C++", "Java", "TypeScript", "Shell", "C#", "Rust", "PHP", "Swift")
    assert dict(QUOTAS) == {name: 40_000 if name == "Python" else 5_000 for name in NAMES}
    assert sum(QUOTAS.values()) == 80_000


@pytest.mark.parametrize(
    ("total", "shares"),
    [
        (80_000, [40_000] + [5_000] * 8),
        (0, [0] * 9),
        (1, [1] + [0] * 8),
        (16, [8] + [1] * 8),
        (3, [2, 1] + [0] * 7),  # 1.5 and 0.1875 each: Python lost most, then C++ is the first of equals
        (1_000, [500] + [63] * 4 + [62] * 4),  # 62.5 each: four of them round up
    ],
)
def test_quotas_scale_by_largest_remainder(total, shares):
    assert list(quotas(total)) == list(NAMES)
    assert list(quotas(total).values()) == shares


@given(st.integers(0, 10**9))
def test_quotas_always_add_up_and_none_is_off_by_one(total):
    shares = quotas(total)

    assert sum(shares.values()) == total
    assert all(abs(shares[name] - total * QUOTAS[name] / 80_000) < 1 for name in NAMES)


def test_a_negative_number_of_seeds_is_refused():
    with pytest.raises(WrongInput, match="0 or more, not -1"):
        quotas(-1)
