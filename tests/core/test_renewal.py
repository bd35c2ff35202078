"""When CA and certificate are made anew: by what there is, one row for each situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from listener.core.renewal import (
    AUTHORITY_LIFE,
    BACKDATED,
    LEAF_LIFE,
    OVERLAP,
    SETTLED,
    Authority,
    Held,
    Leaf,
    Secret,
    Step,
    canonical_host,
    next_step,
    recovered,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOSTS = frozenset({"listener.ns.svc", "10.0.0.1"})
MOMENT = timedelta(seconds=1)
DAY = timedelta(days=1)


def authority(name: str = "ours", *, age: timedelta = 30 * DAY) -> Authority:
    return Authority(name.encode(), NOW - BACKDATED - age, NOW + AUTHORITY_LIFE - age)


def leaf(by: Authority | None, *, age: timedelta = 30 * DAY, hosts: frozenset[str] = HOSTS) -> Leaf:
    return Leaf(b"leaf", b"key of the leaf", hosts, NOW - BACKDATED - age, NOW + LEAF_LIFE - age, by)


OURS, NEW, OLD = authority(), authority("new", age=timedelta()), authority("old", age=2500 * DAY)
ENDED, FUTURE = authority("ended", age=AUTHORITY_LIFE), authority("future", age=-DAY)
GOOD = Held((OURS,), OURS, b"key", leaf(OURS))
STAGED = Held((NEW, OLD), NEW, b"key", leaf(OLD))
LEAF_DUE = (LEAF_LIFE + BACKDATED) * 2 / 3 - BACKDATED
AUTHORITY_DUE = (AUTHORITY_LIFE + BACKDATED) * 2 / 3 - BACKDATED


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        pytest.param(Held(), Step.BEGIN, id="nothing"),
        pytest.param(Held((OURS,)), Step.BEGIN, id="a CA without its key, and no certificate"),
        pytest.param(Held((ENDED,), ENDED, b"key", leaf(ENDED)), Step.BEGIN, id="the CA has ended"),
        pytest.param(Held((FUTURE,), FUTURE, b"key", leaf(FUTURE)), Step.BEGIN, id="the CA is not valid yet"),
        pytest.param(replace(GOOD, signer=None, leaf=leaf(None)), Step.BEGIN, id="a stranger's certificate, no signer"),
        pytest.param(replace(GOOD, leaf=None), Step.SIGN, id="a CA alone"),
        pytest.param(replace(GOOD, leaf=leaf(None)), Step.SIGN, id="a certificate by a stranger"),
        pytest.param(replace(GOOD, leaf=leaf(OURS, age=LEAF_LIFE)), Step.SIGN, id="the certificate has ended"),
        pytest.param(replace(GOOD, leaf=leaf(OURS, age=-DAY)), Step.SIGN, id="the certificate is not valid yet"),
        pytest.param(replace(GOOD, leaf=leaf(OURS, age=-BACKDATED)), Step.KEEP, id="made by a clock an hour ahead"),
        pytest.param(GOOD, Step.KEEP, id="all is well"),
        pytest.param(replace(GOOD, leaf=leaf(OURS, age=LEAF_DUE - MOMENT)), Step.KEEP, id="just before two thirds"),
        pytest.param(replace(GOOD, leaf=leaf(OURS, age=LEAF_DUE)), Step.SIGN, id="two thirds of its life are over"),
        pytest.param(
            replace(GOOD, leaf=leaf(OURS, hosts=frozenset({"10.0.0.1"}))), Step.SIGN, id="a host is missing in it"
        ),
        pytest.param(replace(GOOD, leaf=leaf(OURS, hosts=HOSTS | {"more"})), Step.KEEP, id="for more hosts than asked"),
        pytest.param(replace(GOOD, signer=None, key=b""), Step.STAGE, id="the CA's key is lost"),
        pytest.param(Held((OLD,), OLD, b"key", leaf(OLD)), Step.STAGE, id="the CA is old"),
        pytest.param(Held((OLD,), OLD, b"key", None), Step.SIGN, id="the CA is old, but all there is"),
        pytest.param(
            Held((NEW, OLD), None, b"", leaf(OLD)), Step.STAGE, id="the key of a CA that was just staged is lost"
        ),
        pytest.param(replace(STAGED, leaf=None), Step.SIGN, id="staged, and there is nothing to wait for"),
        pytest.param(replace(STAGED, leaf=leaf(OLD, age=LEAF_LIFE)), Step.SIGN, id="staged, and the old one ended"),
        pytest.param(Held((NEW, OLD), NEW, b"key", leaf(NEW, age=timedelta())), Step.KEEP, id="just changed over"),
        pytest.param(
            Held((NEW, OLD), NEW, b"key", leaf(NEW, age=OVERLAP - MOMENT)), Step.KEEP, id="some may serve the old one"
        ),
        pytest.param(
            Held((NEW, OLD), NEW, b"key", leaf(NEW, age=OVERLAP)), Step.FORGET, id="nobody serves the old one"
        ),
    ],
)
def test_what_is_done_next(held: Held, expected: Step) -> None:
    assert next_step(held, HOSTS, NOW, published_for=timedelta(hours=1)) is expected


def test_a_ca_is_due_at_two_thirds_of_its_life() -> None:
    for age, expected in ((AUTHORITY_DUE - MOMENT, Step.KEEP), (AUTHORITY_DUE, Step.STAGE)):
        ours = authority(age=age)
        assert next_step(Held((ours,), ours, b"key", leaf(ours)), HOSTS, NOW, published_for=None) is expected


@pytest.mark.parametrize(
    ("published_for", "expected"),
    [
        pytest.param(None, Step.KEEP, id="not published"),
        pytest.param(timedelta(), Step.KEEP, id="just published"),
        pytest.param(SETTLED - MOMENT, Step.KEEP, id="some API server may not have seen it"),
        pytest.param(SETTLED, Step.SIGN, id="seen by all"),
    ],
)
def test_the_new_ca_signs_only_when_api_servers_know_it(published_for: timedelta | None, expected: Step) -> None:
    assert next_step(STAGED, HOSTS, NOW, published_for=published_for) is expected


@pytest.mark.parametrize("held", [Held(), GOOD, replace(GOOD, leaf=leaf(OURS, age=LEAF_DUE))])
def test_what_needs_no_new_ca_does_not_wait_for_the_webhook_configuration(held: Held) -> None:
    assert next_step(held, HOSTS, NOW, published_for=None) is next_step(held, HOSTS, NOW, published_for=SETTLED)


LOST = Held((OURS,), leaf=leaf(None))


@pytest.mark.parametrize(
    ("held", "in_use", "expected"),
    [
        pytest.param(Held(), leaf(OURS), Held((OURS,), leaf=leaf(OURS)), id="the certificate in use goes on"),
        pytest.param(LOST, leaf(OURS), Held((OURS,), leaf=leaf(OURS)), id="so it does where garbage was left"),
        pytest.param(Held(), None, Held(), id="nothing is in use"),
        pytest.param(Held(), leaf(OURS, age=LEAF_LIFE), Held(), id="what is in use has ended"),
        pytest.param(Held(), leaf(None), Held(), id="what is in use is by nobody"),
        pytest.param(replace(GOOD, leaf=None), leaf(OURS), replace(GOOD, leaf=None), id="the signer is there"),
        pytest.param(replace(GOOD, signer=None), leaf(NEW), replace(GOOD, signer=None), id="a certificate is there"),
    ],
)
def test_a_secret_that_lost_everything(held: Held, in_use: Leaf | None, expected: Held) -> None:
    assert recovered(held, in_use, NOW) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("Listener.NS.svc", "listener.ns.svc"),
        ("listener.ns.svc.", "listener.ns.svc"),
        ("localhost", "localhost"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("FE80:0:0::1", "fe80::1"),
    ],
)
def test_hosts_are_compared_in_one_form(host: str, expected: str) -> None:
    assert canonical_host(host) == expected


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "*",
        "a..b",
        "-a.b",
        "a.b:443",
        "https://a.b",
        "a b",
        "ü.example",
        "[::1]",
        "fe80::1%eth0",
        "a." * 127 + "a",
        "a" * 64,
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor an IP address"):
        canonical_host(host)


def test_no_key_shows() -> None:
    secret = Secret("ns", "tls", "1", {"tls.key": b"secret"})
    told = [str(secret), repr(secret), repr(GOOD), repr(leaf(OURS))]
    assert not any("key'" in each or "key of" in each or "b'secret'" in each for each in told)
    assert GOOD.data() == {"ca.crt": b"ours", "ca.key": b"key", "tls.crt": b"leaf", "tls.key": b"key of the leaf"}
