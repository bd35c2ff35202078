"""Whatever a stranger sends: without the secret no gate opens, and with it each does.

The secrets, the deliveries and the mistakes are invented anew each time; the gates are those of the service.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from listener.core.authentication import (
    ALGORITHMS,
    Basic,
    Bearer,
    Header,
    Query,
    Scheme,
    Signature,
    credentials,
)
from listener.core.events import Delivery
from listener.edges.secrets import Secret, SecretGate
from listener.edges.signers import Fetching, OidcGate, SnsGate
from listener.errors import SignerUnavailable, Unauthenticated
from tests.edges.test_signers import (  # noqa: F401 - fixtures
    AUDIENCE,
    CLAIMS,
    ISSUER,
    NOTIFICATION,
    Stage,
    bearing,
    believed,
    certificate,
    fetch,
    jwk,
    oidc,
    posted,
    rsa_key,
    served,
    signed,
    sns,
    stage,
    token,
)

FUZZ = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCHEMES: dict[str, Scheme] = {
    "bearer": Bearer(),
    "basic": Basic("robot"),
    "basic, a colon in the name": Basic("ro:bot"),
    "header": Header("x-token"),
    "header, authorization": Header("authorization"),
    "query": Query("secret"),
    **{f"signature, {name}": Signature("x-signature", name) for name in ALGORITHMS},
    "signature, a prefix": Signature("x-signature", "sha256", "sha256="),
}
each_scheme = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)

# As operators write them: no ends of lines, and blanks only inside, for HTTP takes those at the ends of a header away.
secrets = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_characters="\x7f\x85\xa0"), min_size=1, max_size=40
)
bodies = st.binary(max_size=200)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def gate(folder: Path, scheme: Scheme, *values: str) -> SecretGate:
    file = folder / "secret"
    file.write_text("\n".join(values), encoding="utf-8")
    return SecretGate("team", scheme, Secret(file=file))


async def is_admitted(gate: SecretGate | OidcGate | SnsGate, delivery: Delivery) -> bool:
    try:
        await gate.admit(delivery)
    except (Unauthenticated, SignerUnavailable):
        return False
    return True


def carrying(scheme: Scheme, secret: str, body: bytes) -> Delivery:
    return Delivery(*credentials(scheme, secret.encode(), body), body)


@st.composite
def near_misses(draw: st.DrawFn, secret: str) -> str:
    """A text that is not the secret, but nearly."""
    at = draw(st.integers(0, len(secret) - 1))
    other = draw(words)
    return draw(
        st.sampled_from(
            (
                "",
                secret[:at],
                secret[at + 1 :],
                secret[:at] + secret[at + 1 :],
                secret[:at] + chr(ord(secret[at]) ^ 1) + secret[at + 1 :],
                secret[:at] + "\x00" + secret[at:],
                secret + secret,
                f"{secret}, {secret}",
                f"{secret},{secret}",
                secret + "\x00",
                secret + other,
                other + secret,
                other,
                secret.upper(),
                secret.lower(),
                secret.swapcase(),
                secret[::-1],
                f'"{secret}"',
                f"{secret}\n",
                hashlib.sha256(secret.encode()).hexdigest(),
                base64.b64encode(secret.encode()).decode(),
                base64.b64encode(f"robot:{secret}".encode()).decode(),
            )
        )
    )


def _heard(scheme: Scheme, secret: str) -> str:
    """What a scheme makes of a secret: a token is taken without blanks around it, HMAC fills its key up with zeros."""
    if isinstance(scheme, Signature):
        return secret.rstrip("\x00")
    return secret.strip() if isinstance(scheme, Bearer) else secret


@each_scheme
@given(st.data())
@FUZZ
async def test_who_has_the_secret_is_admitted(tmp_path: Path, scheme: Scheme, data: st.DataObject) -> None:
    secret, second, body = data.draw(secrets), data.draw(secrets), data.draw(bodies)
    delivery = carrying(scheme, secret, body)
    assert await is_admitted(gate(tmp_path, scheme, secret), delivery)
    assert await is_admitted(gate(tmp_path, scheme, second, secret), delivery)
    more = delivery._replace(
        headers={**data.draw(strange), **delivery.headers}, query={**data.draw(strange), **delivery.query}
    )
    assert await is_admitted(gate(tmp_path, scheme, secret), more)


NAMES = ("authorization", "x-token", "x-signature", "x-hub-signature-256", "secret", "token", "x-authorization", "")
strange = st.dictionaries(st.sampled_from(NAMES) | words, words, max_size=4)


@each_scheme
@given(st.data())
@FUZZ
async def test_who_knows_nothing_is_not(tmp_path: Path, scheme: Scheme, data: st.DataObject) -> None:
    secret, body = data.draw(secrets.filter(lambda found: len(found) > 3)), data.draw(bodies)
    kinds = st.sampled_from(("Bearer ", "bearer ", "Basic ", "sha256=", "sha1=", ""))
    values = st.builds(
        lambda kind, word: kind + word, kinds, words | words.map(lambda word: base64.b64encode(word.encode()).decode())
    )
    values |= st.integers(0, 128).map(lambda size: "0" * size)
    headers = data.draw(st.dictionaries(st.sampled_from(NAMES) | words, values, max_size=4))
    query = data.draw(strange)
    told = [*headers.values(), *query.values(), *(_decoded(each) for each in headers.values())]
    if not any(secret in each for each in told):
        assert not await is_admitted(gate(tmp_path, scheme, secret), Delivery(headers, query, body))


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value.partition(" ")[2], validate=True).decode()
    except ValueError:
        return ""


@each_scheme
@given(st.data())
@FUZZ
async def test_nor_who_nearly_knows_it(tmp_path: Path, scheme: Scheme, data: st.DataObject) -> None:
    secret, body = data.draw(secrets), data.draw(bodies)
    wrong = data.draw(near_misses(secret))
    if _heard(scheme, wrong) != _heard(scheme, secret):
        # As if it were the secret; and a body signed by it is signed by another.
        assert not await is_admitted(gate(tmp_path, scheme, secret), carrying(scheme, wrong, body))


@each_scheme
@given(st.data())
@FUZZ
async def test_nor_who_puts_the_secret_where_it_does_not_belong(
    tmp_path: Path, scheme: Scheme, data: st.DataObject
) -> None:
    secret, body = data.draw(secrets), data.draw(bodies)
    headers, query = credentials(scheme, secret.encode(), body)
    mistakes = [
        Delivery(query, headers, body),
        Delivery(
            {f"x-{name}": value for name, value in headers.items()},
            {f"{name}s": value for name, value in query.items()},
            body,
        ),
        Delivery(
            _each(headers, lambda value: f"{value}, {value}"), _each(query, lambda value: f"{value}, {value}"), body
        ),
        Delivery(_each(headers, lambda value: value[:-1]), _each(query, lambda value: value[:-1]), body),
        Delivery(_each(headers, lambda _: ""), _each(query, lambda _: ""), body),
        Delivery({}, {}, secret.encode()),
    ]
    mistakes += [carrying(other, secret, body) for other in SCHEMES.values() if _place(other) != _place(scheme)]
    opened = gate(tmp_path, scheme, secret)
    found = data.draw(st.sampled_from(mistakes))
    assert not await is_admitted(opened, found), found


def _each(values: Mapping[str, str], change: Any) -> dict[str, str]:
    return {name: change(value) for name, value in values.items()}


def _place(scheme: Scheme) -> object:
    """Where a scheme looks: two that look into the same header may take what the other sends."""
    match scheme:
        case Header(name=name) | Query(name=name):
            return type(scheme), name
        case Signature(header=header, algorithm=algorithm):
            return header, algorithm
        case _:
            return type(scheme)


SIGNATURES = {name: scheme for name, scheme in SCHEMES.items() if isinstance(scheme, Signature)}


@pytest.mark.parametrize("scheme", SIGNATURES.values(), ids=SIGNATURES)
@given(st.data())
@FUZZ
async def test_a_signature_is_of_one_body_by_one_secret_and_whole(
    tmp_path: Path, scheme: Signature, data: st.DataObject
) -> None:
    secret, body, other = data.draw(secrets), data.draw(bodies), data.draw(bodies)
    opened = gate(tmp_path, scheme, secret)
    right = carrying(scheme, secret, body)
    assert await is_admitted(opened, right)
    value = right.headers[scheme.header]
    mac = value.removeprefix(scheme.prefix)
    cut = data.draw(st.integers(0, len(mac) - 1))
    wrong = [value[:cut], scheme.prefix + mac[:cut], scheme.prefix + mac[cut + 1 :], value + "0", value + value]
    wrong += [scheme.prefix + mac[:cut] + format(int(mac[cut], 16) ^ 1, "x") + mac[cut + 1 :]]
    wrong += [
        scheme.prefix + hmac.new(secret.encode(), body, name).hexdigest() for name in ("md5", "sha384", "sha3_256")
    ]
    wrong += [scheme.prefix + hashlib.new(scheme.algorithm, secret.encode() + body).hexdigest()]
    wrong += [scheme.prefix + hashlib.new(scheme.algorithm, body).hexdigest()]
    wrong += [
        scheme.prefix + hmac.new(key, body, scheme.algorithm).hexdigest() for key in (b"", body, b"another secret")
    ]
    if scheme.prefix:
        wrong.append(mac)
    for each in wrong:
        assert not await is_admitted(opened, right._replace(headers={scheme.header: each})), each
    for altered in (other, body + b"\x00", body[:-1], b""):
        assert await is_admitted(opened, right._replace(body=altered)) is (altered == body)


# Tokens that somebody signs with a key of their own


@given(st.data())
@settings(FUZZ, max_examples=15)
async def test_a_token_with_anything_changed_is_not_admitted(
    stage: Stage,  # noqa: F811
    fetch: Fetching,  # noqa: F811
    data: st.DataObject,
) -> None:
    stage.publish(jwk(rsa_key()))
    opened = oidc(fetch)
    right = token()
    assert await is_admitted(opened, bearing(right))
    at = data.draw(
        st.integers(0, len(right) - 2)
    )  # the last character holds bits that nobody reads, nor is what is no base64
    put = data.draw(st.sampled_from("Aa0_-."))
    changed = right[:at] + put + right[at + data.draw(st.integers(0, 2)) :]
    if changed.strip() != right:
        assert not await is_admitted(opened, bearing(changed))
    headers = data.draw(st.dictionaries(st.sampled_from(("alg", "kid", "typ", "jwk", "crit")), words, max_size=3))
    claims: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 300, **CLAIMS}
    forged = jwt.encode(claims, "x" * 32, "HS256", headers={"kid": "k1", **headers, "alg": "HS256"})
    assert not await is_admitted(opened, bearing(forged))


@given(st.data())
@FUZZ
async def test_a_message_of_sns_with_anything_changed_is_not_admitted(
    stage: Stage,  # noqa: F811
    fetch: Fetching,  # noqa: F811
    data: st.DataObject,
) -> None:
    stage.certify(certificate())
    opened = sns(fetch)
    right = signed(NOTIFICATION)
    assert await is_admitted(opened, posted(right))
    # Where the certificate is is not signed, for the certificate is; and the last bits of base64 are nobody's.
    name = data.draw(st.sampled_from(sorted(set(right) - {"SigningCertURL"})))
    at = data.draw(st.integers(0, max(0, len(right[name]) - 4)))
    put = data.draw(words)
    changed = right[name][:at] + put + right[name][at + data.draw(st.integers(1, 3)) :]
    if changed != right[name]:
        assert not await is_admitted(opened, posted({**right, name: changed})), (name, changed)
    assert not await is_admitted(opened, posted({each: right[each] for each in right if each != name})), name
