"""Which of a delivery's pushes a registry's hook can take, and what is believed of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from listener.core.events import PushEvent
from listener.core.origins import Origin

HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
DIGEST = "sha256:" + "a" * 64
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def push(registry: str | None = "r.example", tag: str = "v1") -> PushEvent:
    return PushEvent(registry, "shop/web", tag, DIGEST, "a type", TIME, "somebody", "an id")


@pytest.mark.parametrize(
    ("host", "aliases", "told", "is_taken"),
    [
        pytest.param("r.example", (), "r.example", True, id="its host"),
        pytest.param("r.example", (), None, True, id="no host"),
        pytest.param("r.example", ("internal:5000",), "internal:5000", True, id="an alias"),
        pytest.param("r.example", ("10.0.0.7:5000", "[fd00::7]:5000"), "10.0.0.7:5000", True, id="an address"),
        pytest.param("r.example", ("10.0.0.7:5000", "[fd00::7]:5000"), "[fd00::7]:5000", True, id="an IPv6 address"),
        pytest.param("r.example", ("10.0.0.7:5000",), "10.0.0.7", False, id="an address without its port"),
        pytest.param("r.example", (), "r.example:443", False, id="its host at a port"),
        pytest.param("r.example", (), "evil.example", False, id="another"),
        pytest.param("r.example", (), "", False, id="no name at all"),
        *(pytest.param(host, (), told, True, id=f"{host} as {told}") for host in HUB for told in HUB),
        *(pytest.param("mirror.example", (alias,), "docker.io", True, id=f"alias {alias}") for alias in HUB),
        *(pytest.param("r.example", (), told, False, id=f"{told}, which it is not") for told in HUB),
        pytest.param("docker.io", (), "auth.docker.io", False, id="not all of docker.io is the Hub"),
        pytest.param("docker.io", (), "docker.io:5000", False, id="nor is another port of it"),
    ],
)
def test_a_push_is_to_the_registry_whose_hook_it_is(
    host: str, aliases: tuple[str, ...], told: str | None, is_taken: bool
) -> None:
    complaint = Origin("team", host, frozenset(aliases)).complaint(push(told))
    assert (complaint is None) is is_taken
    if complaint:
        assert complaint == f"{told} is neither host nor alias of registry 'team'; add it to its aliases"


def test_of_who_proved_nothing_only_that_something_was_pushed_is_believed() -> None:
    origin = Origin("team", "r.example", is_proven=False)
    believed, remark = origin.believed([push()])
    assert believed == [push()._replace(digest=None, timestamp=None)]
    assert remark is None


def test_of_who_proved_nothing_a_hundred_pushes_are_looked_up() -> None:
    origin = Origin("team", "r.example", is_proven=False)
    believed, remark = origin.believed([push(tag=f"t{number}") for number in range(250)])
    assert [each.tag for each in believed] == [f"t{number}" for number in range(100)]
    assert remark is not None
    assert (remark.what, remark.why) == (
        "150 pushes more",
        "of who proved nothing, 100 pushes of a delivery are looked up; set a secret in auth",
    )


@pytest.mark.parametrize(
    "origin", [Origin("team", "r.example"), Origin("lab", "r.example", verify=False, is_proven=False)]
)
def test_everybody_else_is_taken_at_their_word(origin: Origin) -> None:
    """Where nothing is secret and nothing verified, somebody wrote out that anybody is to be believed."""
    pushes = [push(tag=f"t{number}") for number in range(250)]
    assert origin.believed(pushes) == (pushes, None)
