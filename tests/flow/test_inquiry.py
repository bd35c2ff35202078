"""A namespace's secrets are read when they are needed, seldom, and never a reason to give up a public image."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from listener.core.manifests import OCI_INDEX, Child, Described, Platform
from listener.core.references import Reference
from listener.core.streams import SpecTag
from listener.errors import ClusterRefused, ClusterUnavailable, RegistryRefused
from listener.flow.inquiry import Access, Inquiry, PullSecrets
from tests.flow.fakes import FakeRegistry, FakeSecrets, digest

WEB = Reference("r.example", "shop/web", "latest")


@pytest.fixture
def secrets() -> FakeSecrets:
    return FakeSecrets({"shop": "robot"})


async def test_secrets_are_read_once_for_many_who_ask_and_again_after_a_minute(secrets: FakeSecrets) -> None:
    pull_secrets = PullSecrets(secrets)
    found = await asyncio.gather(*(pull_secrets.of("shop") for _ in range(20)))
    assert {keys.matching(WEB)[0].username for keys in found} == {"robot"}
    assert secrets.reads == 1
    await asyncio.sleep(59)
    await pull_secrets.of("shop")
    assert secrets.reads == 1
    secrets.users["shop"] = "other"
    await asyncio.sleep(2)
    assert (await pull_secrets.of("shop")).matching(WEB)[0].username == "other"


async def test_forgotten_secrets_are_read_at_once(secrets: FakeSecrets) -> None:
    pull_secrets = PullSecrets(secrets)
    await pull_secrets.of("shop")
    secrets.users["shop"] = "other"
    pull_secrets.forget("shop")
    assert (await pull_secrets.of("shop")).matching(WEB)[0].username == "other"


async def test_one_who_leaves_takes_nothing_from_the_others(secrets: FakeSecrets) -> None:
    pull_secrets = PullSecrets(secrets)
    leaving, staying = (asyncio.create_task(pull_secrets.of("shop")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).matching(WEB)
    assert secrets.reads == 1


async def test_a_missing_right_is_told_once_and_leaves_no_credentials(secrets: FakeSecrets) -> None:
    secrets.error = ClusterRefused("secrets is forbidden", status=403)
    pull_secrets = PullSecrets(secrets)
    with capture_logs() as logs:
        for _ in range(3):
            assert (await pull_secrets.of("shop")).matching(WEB) == ()
            await asyncio.sleep(120)
    [line] = logs
    assert (line["event"], line["namespace"]) == ("pull_secrets.unusable", "shop")
    assert "right to list secrets" in line["reason"]


async def test_a_cluster_that_does_not_answer_is_an_error_and_not_an_empty_keyring(secrets: FakeSecrets) -> None:
    secrets.error = ClusterUnavailable("down")
    pull_secrets = PullSecrets(secrets)
    with pytest.raises(ClusterUnavailable):
        await pull_secrets.of("shop")
    secrets.error = None
    assert (await pull_secrets.of("shop")).matching(WEB)


async def test_what_is_remembered_is_bounded(secrets: FakeSecrets) -> None:
    pull_secrets = PullSecrets(secrets)
    for number in range(2100):
        await pull_secrets.of(f"ns{number}")
    assert len(pull_secrets._known) == 2000


@pytest.mark.parametrize(
    ("spec_tag", "expected"),
    [
        pytest.param(SpecTag("a"), "c", id="our platform"),
        pytest.param(SpecTag("a", prefer_architecture="arm64"), "d", id="another architecture"),
        pytest.param(SpecTag("a", import_mode="PreserveOriginal"), "b", id="the index"),
    ],
)
async def test_what_a_tag_takes_of_an_index(spec_tag: SpecTag, expected: str) -> None:
    registry = FakeRegistry()
    children = [Child(digest("d"), "", Platform("linux", "arm64")), Child(digest("c"), "", Platform("linux", "amd64"))]
    registry.put_index("b", *children)
    inquiry = Inquiry(registry, PullSecrets(FakeSecrets()), Platform("linux", "amd64"))
    described = Described(digest("b"), OCI_INDEX)
    assert await inquiry.image(WEB, described, spec_tag, Access((), insecure=False)) == digest(expected)


async def test_an_empty_index_is_no_image() -> None:
    registry = FakeRegistry()
    registry.put_index("b")
    inquiry = Inquiry(registry, PullSecrets(FakeSecrets()), Platform("linux", "amd64"))
    with pytest.raises(RegistryRefused) as refusal:
        await inquiry.image(WEB, Described(digest("b"), OCI_INDEX), SpecTag("a"), Access((), insecure=False))
    assert refusal.value.reason == "NotFound"
