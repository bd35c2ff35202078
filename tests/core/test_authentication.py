"""Who is let in: the schemes, and what people and proxies make of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest

from listener.core.authentication import Basic, Bearer, Header, Open, Scheme, admits
from listener.core.events import Delivery

SECRET = b"p:w \xc3\xa9"  # a colon, a blank, and a letter beyond ASCII
TEXT = SECRET.decode()
BASIC, HEADER = Basic("robot"), Header("x-token")


def basic(credentials: bytes, kind: str = "Basic") -> dict[str, str]:
    return {"authorization": f"{kind} {base64.b64encode(credentials).decode()}"}


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        pytest.param(Bearer(), {"authorization": f"Bearer {TEXT}"}, id="bearer"),
        pytest.param(Bearer(), {"authorization": f"BEARER  {TEXT} "}, id="bearer, other case and more blanks"),
        pytest.param(BASIC, basic(b"robot:" + SECRET), id="basic"),
        pytest.param(BASIC, basic(b"robot:" + SECRET, "basic"), id="basic in lower case"),
        pytest.param(HEADER, {"x-token": TEXT}, id="header"),
        pytest.param(Open(), {}, id="open"),
    ],
)
def test_who_carries_the_secret_is_admitted(scheme: Scheme, headers: Mapping[str, str]) -> None:
    assert admits(scheme, (SECRET,), Delivery(headers, {}, b""))


def test_bytes_that_are_no_text_are_compared_as_they_came() -> None:
    """HTTP servers hand them out as lone surrogates."""
    secret = b"\xff\xfe"
    assert admits(
        Bearer(), (secret,), Delivery({"authorization": "Bearer " + secret.decode(errors="surrogateescape")}, {}, b"")
    )
    assert admits(HEADER, (secret,), Delivery({"x-token": secret.decode(errors="surrogateescape")}, {}, b""))


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        pytest.param(Bearer(), {}, id="bearer missing"),
        pytest.param(Bearer(), {"authorization": ""}, id="bearer empty"),
        pytest.param(Bearer(), {"authorization": "Bearer"}, id="bearer without token"),
        pytest.param(Bearer(), {"authorization": f"Token {TEXT}"}, id="another kind"),
        pytest.param(Bearer(), {"authorization": f"Bearer {TEXT}x"}, id="one more letter"),
        pytest.param(Bearer(), {"authorization": "Bearer \udcff"}, id="no text"),
        pytest.param(Bearer(), {"x-token": TEXT}, id="in another header"),
        pytest.param(BASIC, basic(b"other:" + SECRET), id="basic, another name"),
        pytest.param(BASIC, basic(b"robot:x"), id="basic, another password"),
        pytest.param(BASIC, basic(b"robot"), id="basic without password"),
        pytest.param(BASIC, basic(SECRET), id="basic without name"),
        pytest.param(BASIC, {"authorization": "Basic robot:x"}, id="basic not encoded"),
        pytest.param(BASIC, {"authorization": "Basic é"}, id="basic not ASCII"),
        pytest.param(BASIC, {"authorization": f"Bearer {TEXT}"}, id="bearer for basic"),
        pytest.param(HEADER, {"x-token": f" {TEXT}"}, id="header with a blank"),
        pytest.param(HEADER, {"authorization": f"Bearer {TEXT}"}, id="bearer for header"),
    ],
)
def test_everybody_else_is_not(scheme: Scheme, headers: Mapping[str, str]) -> None:
    assert not admits(scheme, (SECRET,), Delivery(headers, {}, b""))


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [(Bearer(), {"authorization": "Bearer "}), (BASIC, basic(b"robot:")), (HEADER, {"x-token": ""})],
)
def test_an_empty_secret_admits_nobody(scheme: Scheme, headers: Mapping[str, str]) -> None:
    assert not admits(scheme, (b"",), Delivery(headers, {}, b""))
