"""Who is let in: the schemes, and what people and proxies make of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

import pytest

from listener.core.authentication import (
    ALGORITHMS,
    Basic,
    Bearer,
    Header,
    Open,
    Query,
    Scheme,
    Signature,
    admits,
    complaint,
    credentials,
    needs_body,
)
from listener.core.events import Delivery

SECRET = b"p:w \xc3\xa9"  # a colon, a blank, and a letter beyond ASCII
TEXT = SECRET.decode()
BASIC, HEADER, QUERY = Basic("robot"), Header("x-token"), Query("secret")
BODY = b'{"a":\r\n 1}\xff'
PLAIN, PREFIXED = Signature("x-signature"), Signature("x-hub-signature-256", "sha256", "sha256=")
SCHEMES: Sequence[Scheme] = [
    Bearer(),
    BASIC,
    HEADER,
    QUERY,
    PLAIN,
    PREFIXED,
    Signature("x-sha1", "sha1"),
    Signature("x-5", "sha512"),
]


def mac(secret: bytes = SECRET, body: bytes = BODY, algorithm: str = "sha256") -> str:
    return hmac.new(secret, body, algorithm).hexdigest()


def name_of(scheme: Scheme) -> str:
    return f"{type(scheme).__name__} {getattr(scheme, 'header', '')}".strip()


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


# Secrets in the URL


@pytest.mark.parametrize(
    ("query", "admitted"),
    [
        pytest.param({"secret": TEXT, "other": "x"}, True, id="the secret"),
        pytest.param({"secret": TEXT + "x"}, False, id="one more letter"),
        pytest.param({"secret": ""}, False, id="empty"),
        pytest.param({"Secret": TEXT}, False, id="under another name"),
        pytest.param({}, False, id="missing"),
    ],
)
def test_a_secret_in_the_url(query: Mapping[str, str], admitted: bool) -> None:
    assert admits(QUERY, (SECRET,), Delivery({}, query, b"")) is admitted


# Signatures, as the senders and the proxies in between make them


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        pytest.param(PLAIN, mac(), id="plain"),
        pytest.param(PLAIN, mac().upper(), id="digits in upper case"),
        pytest.param(PLAIN, f" {mac()} ", id="blanks around it"),
        pytest.param(PREFIXED, f"sha256={mac()}", id="with its prefix"),
        pytest.param(PREFIXED, f"SHA256={mac().upper()}", id="all in upper case"),
        pytest.param(Signature("x-signature", "sha256", "SHA256="), f"sha256={mac()}", id="a prefix in upper case"),
        pytest.param(Signature("x-signature", "sha1"), mac(algorithm="sha1"), id="SHA-1"),
        pytest.param(Signature("x-signature", "sha512"), mac(algorithm="sha512"), id="SHA-512"),
    ],
)
def test_who_signs_the_raw_body_is_admitted(scheme: Signature, value: str) -> None:
    assert admits(scheme, (SECRET,), Delivery({scheme.header: value}, {}, BODY))


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        pytest.param(PLAIN, None, id="missing"),
        pytest.param(PLAIN, "", id="empty"),
        pytest.param(PREFIXED, "", id="empty, with a prefix wanted"),
        pytest.param(PREFIXED, "sha256=", id="a prefix and nothing else"),
        pytest.param(PREFIXED, mac(), id="without the prefix"),
        pytest.param(PREFIXED, f"sha1={mac(algorithm='sha1')}", id="sha1 where sha256 is wanted"),
        pytest.param(PREFIXED, f"sha1={mac()}", id="sha256 called sha1"),
        pytest.param(PREFIXED, f"sha256={mac(algorithm='sha1')}", id="sha1 called sha256"),
        pytest.param(PREFIXED, f"sha512={mac()}", id="sha256 called sha512"),
        pytest.param(PLAIN, f"{mac()}, {mac()}", id="the header twice"),
        pytest.param(PREFIXED, f"sha256={mac(b'x')}, sha256={mac()}", id="the header twice, the second one right"),
        pytest.param(PLAIN, mac()[:-1], id="a digit less"),
        pytest.param(PLAIN, mac() + "0", id="a digit more"),
        pytest.param(PLAIN, mac(b"another"), id="another secret"),
        pytest.param(PLAIN, mac(b""), id="no secret"),
        pytest.param(PLAIN, mac(SECRET.strip()[1:]), id="part of the secret"),
        pytest.param(PLAIN, mac(body=b'{"a": 1}'), id="another body"),
        pytest.param(PLAIN, mac(body=BODY.replace(b"\r\n", b"\n")), id="a body with other line ends"),
        pytest.param(PLAIN, base64.b64encode(bytes.fromhex(mac())).decode(), id="base64"),
        pytest.param(PLAIN, "é", id="not ASCII"),
        pytest.param(PLAIN, "\udcff", id="no text"),
        pytest.param(PLAIN, "\ud800", id="what was on no wire"),
    ],
)
def test_any_other_signature_is_refused(scheme: Signature, value: str | None) -> None:
    headers = {} if value is None else {scheme.header: value}
    assert not admits(scheme, (SECRET,), Delivery(headers, {}, BODY))


@pytest.mark.parametrize("secret", [b" zebra ", b"zebra\t", b" "], ids=repr)
def test_blanks_around_a_secret_that_signs_are_part_of_it(secret: bytes) -> None:
    assert admits(PLAIN, (secret,), Delivery({"x-signature": mac(secret)}, {}, BODY))
    assert not admits(PLAIN, (secret,), Delivery({"x-signature": mac(secret.strip())}, {}, BODY))


def test_an_empty_secret_signs_nothing() -> None:
    assert not admits(PLAIN, (b"",), Delivery({"x-signature": mac(b"")}, {}, BODY))


# All schemes


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_during_a_rotation_each_secret_opens(scheme: Scheme) -> None:
    valid = (b"old", b"new")
    for secret, admitted in ((b"old", True), (b"new", True), (b"older", False), (b"old\nnew", False), (b"", False)):
        headers, query = credentials(scheme, secret, BODY)
        assert admits(scheme, valid, Delivery(headers, query, BODY)) is admitted, secret
    assert not admits(scheme, (), Delivery(*credentials(scheme, b"old", BODY), BODY))


@pytest.mark.parametrize("scheme", [*SCHEMES, Open()], ids=name_of)
def test_what_a_sender_has_to_add_opens(scheme: Scheme) -> None:
    assert admits(scheme, (SECRET,), Delivery(*credentials(scheme, SECRET, BODY), BODY))


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_the_complaint_says_what_is_expected_and_shows_no_secret(scheme: Scheme) -> None:
    nothing = complaint(scheme, Delivery({}, {}, BODY))
    assert nothing.startswith("expected ")
    assert nothing.endswith("; found none")
    headers, query = credentials(scheme, b"a-wrong-zebra", BODY)
    other = complaint(scheme, Delivery(headers, query, BODY))
    assert "found another" in other
    for shown in ("zebra", *headers.values()):
        assert shown not in other


FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def test_a_signature_that_does_not_fit_a_form_may_be_that_of_the_json_inside() -> None:
    inside = {"x-signature": mac(body=b"{}")}
    form = Delivery(FORM | inside, {}, b"payload=%7B%7D")
    assert not admits(PLAIN, (SECRET,), form)
    told = complaint(PLAIN, form)
    assert "the secrets differ" in told
    assert told.endswith("set the content type to JSON at its sender")
    assert "content type" not in complaint(PLAIN, Delivery(inside, {}, b"{}"))
    assert "content type" not in complaint(Bearer(), Delivery(FORM | {"authorization": "Bearer x"}, {}, b""))


def test_only_a_signature_needs_the_body() -> None:
    assert [needs_body(scheme) for scheme in (*SCHEMES, Open())] == [False] * 4 + [True] * 4 + [False]


def test_all_algorithms_are_there() -> None:
    assert set(hashlib.algorithms_guaranteed) >= set(ALGORITHMS)
