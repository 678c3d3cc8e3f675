"""Code is taken only under licences that allow it, and every licence says how it is known."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from curation.errors import WrongInput
from curation.licences import (
    ALLOWED_LICENCES,
    EVIDENCE,
    allow_list,
    as_spdx,
    decide,
    is_allowed,
    licence_in_header,
    licence_of,
    licence_reason_to_skip,
)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("# SPDX-License-Identifier: MIT", None),
        ("# SPDX-License-Identifier: GPL-3.0-only OR MIT", None),
        ("# SPDX-License-Identifier: GPL-3.0-only", "licence_header"),
        ("# under the terms of the GNU Lesser General Public\n# License", "licence_header"),
        ("# licensed under the GNU General Public License", "licence_header"),
        ("# License: LGPLv2", "licence_header"),
        ("# This Source Code Form is subject to the Mozilla Public License", "licence_header"),
        ("# plain code", None),
        ("/* SPDX-License-Identifier: MIT */", None),
        ("/* SPDX-License-Identifier: MIT */ /* SPDX-License-Identifier: LGPL-2.1-only */", "licence_header"),
        ("<!-- SPDX-License-Identifier: AGPL-3.0-only -->", "licence_header"),
        ("// under the GNU\n// Affero General Public License", "licence_header"),
        (" * terms of the GNU General\r\n * Public License as published", "licence_header"),
        ("; GNU Lesser General\n; Public License", "licence_header"),
        ("# The general public may use this; GNU tools are needed", None),
        ("x = GPLConfig()", None),
        ("\n" * 60 + "# licensed under the GNU General Public License", None),
    ],
)
def test_the_head_of_a_file_is_searched_for_its_own_licence(header, reason):
    assert licence_reason_to_skip(header + "\nx = 1\n") == reason


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("mit", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT WITH LLVM-exception", False),
        ("MIT AND BSD-3-Clause", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT AND LGPL-2.1-only", False),
        ("GPL-3.0-only OR MIT AND ISC", True),
        ("(GPL-3.0-only OR MIT) AND ISC", True),
        ("(GPL-3.0-only OR MIT) AND MPL-2.0", False),
        ("(MIT", False),
        ("MIT)", False),
        ("MIT AND", False),
        ("MIT Apache-2.0", False),
        ("OR MIT", False),
        ("", False),
        ("Apache-2.0+", True),
        ("GPL-2.0+", False),
        ("MIT WITH", False),
        ("WITH LLVM-exception", False),
        ("()", False),
        ("mit or (gpl-3.0-only and bsd-3-clause)", True),
        ("(" * 50 + "MIT" + ")" * 50, True),
        ("(" * 51 + "MIT" + ")" * 51, False),
        ("(MIT) AND " * 60 + "ISC", True),  # side by side, not inside one another
        ("(" * 100_000, False),
    ],
)
def test_an_expression_is_allowed_only_as_spdx_reads_it(expression, allowed):
    assert is_allowed(expression) is allowed


@pytest.mark.parametrize(
    ("expression", "classifiers", "field", "found"),
    [
        ("MIT", ["License :: OSI Approved :: BSD License"], "GPL", ("MIT", "expression")),
        ("", ["License :: OSI Approved :: MIT License"], "GPL", ("MIT", "classifier")),
        (
            "",
            ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: Apache Software License"],
            "",
            ("Apache-2.0 AND MIT", "classifier"),
        ),
        ("", ["License :: OSI Approved :: BSD License"], "BSD", ("BSD-3-Clause", "vague classifier")),
        ("", ["License :: OSI Approved :: BSD License"], "BSD-2-Clause", ("BSD-2-Clause", "field")),
        ("", ["License :: OSI Approved", "Topic :: Software"], "Apache 2.0", ("Apache-2.0", "field")),
        ("", [], "Apache License, Version 2.0", ("Apache-2.0", "field")),
        ("", [], "MPL-2.0 AND MIT", ("MPL-2.0 AND MIT", "field")),
        ("", [], "BSD", ("unknown", "none")),
        ("", [], "Copyright (c) 2001 Somebody. Permission is granted 1 2 3", ("unknown", "none")),
        ("", [], "", ("unknown", "none")),
    ],
)
def test_the_licence_is_known_from_the_best_of_three_places(expression, classifiers, field, found):
    assert licence_of(expression, classifiers, field) == found


def test_a_classifier_without_an_spdx_id_is_not_allowed():
    licence, _ = licence_of("", ["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"], "MIT")

    assert not is_allowed(licence)


@pytest.mark.parametrize(
    ("expression", "evidence", "options", "reason"),
    [
        ("MIT", "expression", {}, None),
        ("BSD-3-Clause", "vague classifier", {}, None),
        ("MIT AND GPL-3.0-only", "field", {}, "licence_not_allowed"),
        ("MIT OR GPL-3.0-only", "field", {}, None),
        ("GNU General Public License v3 (GPLv3)", "classifier", {}, "licence_not_allowed"),
        ("unknown", "none", {}, "licence_unknown"),
        ("unknown", "none", {"allow_unknown": True}, None),
        ("NOASSERTION", "field", {}, "licence_unknown"),
        ("", "header", {}, "licence_unknown"),
        ("MIT", "none", {}, "licence_unknown"),  # nobody says so
        ("GPL-3.0-only", "licence file", {"allow_unknown": True}, "licence_not_allowed"),
        ("unknown", "corpus", {}, None),
        ("unknown", "corpus", {"allow_corpus": False}, "licence_unknown"),
        ("unknown", "corpus", {"allow_corpus": False, "allow_unknown": True}, "licence_unknown"),
        ("MIT", "corpus", {"allow_corpus": False}, "licence_unknown"),
        ("GPL-2.0-only", "corpus", {}, "licence_not_allowed"),
        ("MPL-2.0", "expression", {"allow": frozenset({"MPL-2.0"})}, None),
        ("MIT", "expression", {"allow": frozenset({"MPL-2.0"})}, "licence_not_allowed"),
        ("MIT AND MPL-2.0", "field", {"allow": allow_list(["mpl-2.0"])}, None),
    ],
)
def test_a_licence_is_decided_by_the_list_and_by_how_it_is_known(expression, evidence, options, reason):
    assert decide(expression, evidence, **options) == reason


def test_evidence_that_nobody_defined_is_an_error():
    with pytest.raises(ValueError, match=r"no such evidence of a licence: 'hearsay'.*licence file"):
        decide("MIT", "hearsay")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("mit", ("MIT", "field")),
        ("Apache License, Version 2.0", ("Apache-2.0", "field")),
        ("apache-2.0 or mit", ("Apache-2.0 OR MIT", "field")),
        ("BSD", ("BSD-3-Clause", "vague classifier")),
        (" bsd  license. ", ("BSD-3-Clause", "vague classifier")),
        ("BSD-2-Clause", ("BSD-2-Clause", "field")),
        ("gpl-3.0", ("GPL-3.0", "field")),
        ("other", ("unknown", "none")),
        ("", ("unknown", "none")),
        ("Do what you like", ("Do what you like", "field")),
        ("MIT OR", ("MIT OR", "field")),
    ],
)
def test_what_a_source_says_gets_its_spdx_form(said, found):
    assert as_spdx(said, "field") == found


def test_a_row_without_a_licence_in_a_corpus_with_one_keeps_the_corpus_as_evidence():
    assert as_spdx("", "corpus") == ("unknown", "corpus")


def test_the_allow_list_grows_by_name_whatever_the_case():
    longer = allow_list(["mpl-2.0, epl-2.0", "GPL-2.0-only with classpath-exception-2.0"])

    added = {"MPL-2.0", "EPL-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"}
    assert longer == ALLOWED_LICENCES | added
    assert allow_list(["LicenseRef-House"]) == ALLOWED_LICENCES | {"LicenseRef-House"}
    assert allow_list([]) == ALLOWED_LICENCES
    assert is_allowed("MIT AND GPL-2.0-only WITH Classpath-exception-2.0", longer)
    assert not is_allowed("GPL-2.0-only", longer)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Apache2", "'Apache2' is not the id of a licence in SPDX; do you mean Apache-2.0?"),
        ("ISC license", "'ISC license' is not the id of a licence in SPDX; do you mean ISC?"),
        ("Quux", "'Quux' is not the id of a licence in SPDX; ids are listed at https://spdx.org/licenses"),
        ("MIT OR ISC", "'MIT OR ISC' names more than one licence; give each by itself, with commas between"),
    ],
)  # fmt: skip
def test_an_id_that_spdx_does_not_know_is_refused_in_one_line(name, message):
    with pytest.raises(WrongInput) as caught:
        allow_list(["MIT", name])
    assert str(caught.value) == message


def test_a_notice_in_words_is_fine_once_its_family_is_allowed():
    notice = "# under the terms of the GNU Lesser General Public License"

    assert licence_reason_to_skip(notice, allow_list(["LGPL-3.0-or-later"])) is None
    assert licence_reason_to_skip(notice, allow_list(["GPL-3.0-only"])) == "licence_header"
    tag = "# SPDX-License-Identifier: MPL-2.0"
    assert licence_reason_to_skip(tag, allow_list(["MPL-2.0"])) is None


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("// SPDX-License-Identifier: MIT\nint x;", "MIT"),
        ("#!/bin/sh\r\n# SPDX-License-Identifier: Apache-2.0\r\n", "Apache-2.0"),
        ("/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */", "(GPL-2.0 OR MIT)"),
        (
            "# SPDX-License-Identifier: MIT\n# SPDX-License-Identifier: GPL-2.0-only OR ISC",
            "(GPL-2.0-only OR ISC) AND (MIT)",
        ),
        ("int x;", ""),
        ("\n" * 60 + "// SPDX-License-Identifier: MIT", ""),
    ],
)
def test_a_header_names_its_licence(text, licence):
    assert licence_in_header(text) == licence


def test_a_hostile_header_takes_no_time():
    """faults.md S44: a line of a million characters within a second."""
    began = time.perf_counter()
    for text in ("SPDX-License-Identifier: " + " " * 10**6 + "x", "GNU General " * 10**5, "SPDX-" * 10**6):
        licence_reason_to_skip(text)
    assert time.perf_counter() - began < 5


# A tree is an id, or ("AND" | "OR", left, right).
IDS = ("MIT", "ISC", "GPL-3.0-only", "MPL-2.0", "Apache-2.0 WITH LLVM-exception", "Zlib", "LGPL-2.1-or-later")
TREES = st.recursive(
    st.sampled_from(IDS),
    lambda inner: st.tuples(st.sampled_from(["AND", "OR"]), inner, inner),
    max_leaves=12,
)


def written(tree, parentheses: bool, above: str = "OR") -> str:
    """Write a tree as an expression, with all parentheses or only with those that AND and OR need."""
    if isinstance(tree, str):
        return f"( {tree})" if parentheses else tree
    operator, left, right = tree
    text = f"{written(left, parentheses, operator)} {operator} {written(right, parentheses, operator)}"
    return f"({text})" if parentheses or (above == "AND" and operator == "OR") else text


def meaning(tree, allow: frozenset[str]) -> bool:
    if isinstance(tree, str):
        return tree in allow
    operator, left, right = tree
    return (all if operator == "AND" else any)((meaning(left, allow), meaning(right, allow)))


@given(TREES, st.frozensets(st.sampled_from(IDS)), st.booleans(), st.booleans())
def test_any_expression_means_what_its_tree_means(tree, allow, parentheses, lower):
    text = written(tree, parentheses)
    assert is_allowed(text.lower() if lower else text, allow) is meaning(tree, allow)


@given(TREES, st.frozensets(st.sampled_from(IDS)), st.frozensets(st.sampled_from(IDS)))
def test_a_longer_list_never_refuses_what_a_shorter_one_allows(tree, allow, more):
    text = written(tree, parentheses=False)
    assert is_allowed(text, allow) <= is_allowed(text, allow | more)


PIECES = st.sampled_from(["MIT", "ISC", "AND", "OR", "WITH", "(", ")", "LLVM-exception", " ", "and"])


@given(st.lists(PIECES, max_size=12).map(" ".join))
def test_what_is_no_expression_is_never_allowed(text):
    """Held against another reader of the same grammar; every licence in it is on our list."""
    allow = frozenset({"MIT", "ISC", "MIT WITH LLVM-exception", "ISC WITH LLVM-exception"})
    try:
        canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        assert not is_allowed(text, allow)
    else:
        assert is_allowed(text, allow)


@given(st.text(max_size=60), st.sampled_from(EVIDENCE))
def test_no_text_at_all_breaks_the_readers(text, evidence):
    assert decide(text, evidence) in (None, "licence_unknown", "licence_not_allowed")
    said, _ = as_spdx(text, "field")
    assert is_allowed(said) or decide(said, "field") is not None
    licence_of(text, [text], text)
    assert licence_reason_to_skip(text) in (None, "licence_header")
