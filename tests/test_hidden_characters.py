"""Trojan Source (faults S21): what cannot be seen is counted and made visible."""

import pytest

from curation.hidden_characters import hidden_in, revealed


@pytest.mark.parametrize(
    "code", [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0xFEFF, 0x00, 0x1B, 0xD800, 0xDCFF]
)
def test_each_is_named_and_marked(code: int) -> None:
    text = f"a{chr(code)}b"
    assert hidden_in(text) == {f"U+{code:04X}": 1}
    assert revealed(text) == f"a⟦U+{code:04X}⟧b"


def test_innocent_text_stays_as_it_is() -> None:
    for text in ("x = 1\n\ty\r\n", "naïve café", "日本語", "👩‍👩‍👧", "❤️", "مرحبا"):
        assert (hidden_in(text), revealed(text)) == ({}, text)


def test_times_are_counted() -> None:
    assert hidden_in("\u202ea\u202eb\u2066") == {"U+202E": 2, "U+2066": 1}
