"""What is kept of a server's sentence."""

from __future__ import annotations

import pytest

from listener.core.outcomes import shortened


@pytest.mark.parametrize(
    ("message", "length", "expected"),
    [
        ("", 5, ""),
        ("short", 5, "short"),
        ("longer", 5, "lo…er"),
        ("longer", 4, "l…er"),
        ('Job "web" is invalid: {"containers": []}: field is immutable', 30, 'Job "web" is i…ld is immutable'),
    ],
)
def test_a_long_sentence_keeps_its_beginning_and_its_end(message: str, length: int, expected: str) -> None:
    assert shortened(message, length) == expected
    assert len(expected) <= length
