"""Secrets and personal data: which are replaced, by which tag, and what is left alone."""

import pytest

from curation.redaction import redact
from tests.planted_credentials import TEN_KINDS, Planted, planted

A_KIND = 20  # credentials planted of each kind


def is_replaced(one: Planted) -> bool:
    """Say whether the whole secret lies in a span of its kind, and its tag stands there instead."""
    at, redacted = one.text.index(one.secret), redact(one.text)
    spans = [
        (a, b) for a, b, kind in redacted.spans if kind == one.kind and a <= at and at + len(one.secret) <= b
    ]
    return (
        len(spans) == 1
        and one.text[: spans[0][0]] + one.tag in redacted.text
        and one.secret not in redacted.text
    )


@pytest.mark.parametrize("kind", TEN_KINDS)
def test_planted_credentials_are_replaced_by_the_tag_of_their_kind(kind: str) -> None:
    """The bar is 99 % of the 200; every one of these seeds is found, so a single miss is a change."""
    missed = [one.text for one in planted(kind, A_KIND) if not is_replaced(one)]
    assert missed == []
