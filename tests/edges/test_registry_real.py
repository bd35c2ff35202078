"""Our client and Debian's docker-registry: TLS, logins, tokens, and images that skopeo pushed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from listener.core import manifests, references
from listener.core.hosts import HostPolicy
from listener.core.keyring import Credential
from listener.core.manifests import Child, Described, Platform
from listener.core.references import Reference
from listener.edges.registry import HostSettings, Registries
from listener.errors import RegistryRefused, RegistryUnavailable
from listener.sandbox import images
from listener.sandbox.images import Image
from tests import real_parts
from tests.edges.fake_registry import running
from tests.edges.signing_token_server import SigningTokenServer
from tests.edges.test_registry import refusal
from tests.real_parts import Skopeo, docker_registry

ANN = Credential("ann", "secret-of-ann")
WRONG = Credential("ann", "not-her-secret")
# Made by `htpasswd -nbB ann secret-of-ann`.
HTPASSWD = "ann:$2y$05$mRFVolczqyVrBfeUCMa4xe5oHgy4HosdE.Py3ajhqy.2Fwqlook8G"
SINGLE = images.make_image("one")
BOTH = images.make_index(images.make_image("amd"), images.make_image("arm", architecture="arm64"))


async def push(skopeo: Skopeo, folder: Path, found: Image, pull_spec: str, *options: str) -> None:
    layout = folder / found.digest.removeprefix("sha256:")
    if not layout.exists():
        real_parts.write_layout(layout, "pushed", found)
    creds = f"--dest-creds={ANN.username}:{ANN.password}"
    await skopeo.copy(f"oci:{layout}:pushed", f"docker://{pull_spec}", creds, *options)


@dataclass
class World:
    """A registry that asks for ann, with images in it, and our client."""

    host: str
    client: Registries

    def image(self, name: str) -> Reference:
        return references.parse(f"{self.host}/{name}")


@pytest.fixture
async def world(tmp_path: Path, ca: trustme.CA, ca_file: Path, skopeo: Skopeo) -> AsyncIterator[World]:
    users = tmp_path / "users"
    users.write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "the registry", "path": str(users)}}
    with docker_registry(tmp_path, ca=ca, auth=auth) as real:
        host = real.host
        await push(skopeo, tmp_path, SINGLE, f"{host}/team/app:1", "--preserve-digests")
        await push(skopeo, tmp_path, BOTH, f"{host}/team/app:both", "--preserve-digests", "--all")
        await push(skopeo, tmp_path, SINGLE, f"{host}/team/docker:1", "--format=v2s2")
        policy = HostPolicy((), [host])
        async with Registries({host: HostSettings(ca_file=ca_file)}, policy, rate=1000, burst=1000) as client:
            yield World(host, client)


async def test_a_registry_with_names_and_passwords(world: World, skopeo: Skopeo) -> None:
    client = world.client
    single = Described(SINGLE.digest, manifests.OCI_MANIFEST)
    assert await client.head(world.image("team/app:1"), [ANN]) == single
    assert await client.head(world.image("team/app:1"), [WRONG, ANN]) == single
    assert await client.head(world.image(f"team/app@{SINGLE.digest}"), [ANN]) == single
    assert await client.head(world.image("team/app:both"), [ANN]) == Described(BOTH.digest, manifests.OCI_INDEX)
    children = await client.children(world.image(f"team/app@{BOTH.digest}"), [ANN])
    assert children == tuple(
        Child(child.digest, manifests.OCI_MANIFEST, Platform("linux", child.architecture)) for child in BOTH.children
    )
    for child in children:
        assert (await client.head(world.image(f"team/app@{child.digest}"), [ANN])).digest == child.digest
    assert sorted(await client.tags(world.image("team/app"), [ANN])) == ["1", "both"]

    docker = await client.head(world.image("team/docker:1"), [ANN])
    spec = f"docker://{world.host}/team/docker:1"
    digest = await skopeo.inspect(spec, f"--creds={ANN.username}:{ANN.password}", "--format={{.Digest}}")
    assert docker == Described(digest.strip(), manifests.DOCKER_MANIFEST)

    for name in ("team/app:gone", f"team/app@sha256:{'0' * 64}", "gone/app:1"):
        assert (await refusal(client.head(world.image(name), [ANN]))).reason == "NotFound"
    assert (await refusal(client.tags(world.image("gone/app"), [ANN]))).reason == "NotFound"

    error = await refusal(client.head(world.image("team/app:1"), [WRONG]))
    assert error.reason == "Unauthorized"
    assert "incorrect username or password" in str(error)
    error = await refusal(client.head(world.image("team/app:1")))
    assert error.reason == "Unauthorized"
    assert "you may not have access" in str(error)


async def test_a_registry_whose_certificate_is_not_known(world: World) -> None:
    policy = HostPolicy((), [world.host])
    async with Registries({}, policy, rate=1000, burst=1000) as client:
        error = await refusal(client.head(world.image("team/app:1"), [ANN]), RegistryUnavailable)
        assert "certificate is not trusted" in str(error)
        assert (await client.head(world.image("team/app:1"), [ANN], insecure=True)).digest == SINGLE.digest


async def test_a_registry_without_tls(tmp_path: Path, skopeo: Skopeo) -> None:
    with docker_registry(tmp_path) as real:
        host = real.host
        await push(skopeo, tmp_path, SINGLE, f"{host}/app:1", "--preserve-digests")
        async with Registries({}, HostPolicy((), [host]), rate=1000, burst=1000) as client:
            reference = references.parse(f"{host}/app:1")
            error = await refusal(client.head(reference), RegistryRefused)
            assert error.reason == "BadRequest"
            assert "HTTP only" in str(error)
            assert (await client.head(reference, insecure=True)).digest == SINGLE.digest


async def test_a_registry_with_tokens(tmp_path: Path, ca: trustme.CA, ca_file: Path, skopeo: Skopeo) -> None:
    certificate = ca.issue_cert("the-issuer.example")
    tokens = SigningTokenServer(logins={ANN.username: ANN.password}, certificate=certificate)
    async with running(tokens):
        with docker_registry(tmp_path, auth=tokens.auth(ca_file)) as real:
            host = real.host
            await push(skopeo, tmp_path, BOTH, f"{host}/app:1", "--preserve-digests", "--all")
            tokens.seen.clear()
            settings = {host: HostSettings(insecure=True)}
            async with Registries(settings, HostPolicy((), [host]), rate=1000, burst=1000) as client:
                reference = references.parse(f"{host}/app:1")
                assert await client.head(reference, [ANN]) == Described(BOTH.digest, manifests.OCI_INDEX)
                assert len(await client.children(references.parse(f"{host}/app@{BOTH.digest}"), [ANN])) == 2
                assert await client.tags(reference, [ANN]) == ("1",)
                assert len(tokens.seen) == 1
                gone = await refusal(client.head(references.parse(f"{host}/app:gone"), [ANN]))
                assert gone.reason == "NotFound"
                for credentials, told in (([WRONG], "incorrect username"), ([], "you may not have access")):
                    error = await refusal(client.head(reference, credentials))
                    assert error.reason == "Unauthorized"
                    assert told in str(error)
