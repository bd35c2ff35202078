"""What becomes of tokens, certificates and secrets: they expire, are replaced, are another's, and disappear."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from yarl import URL

from tests.cluster_under_test import Account
from tests.edges.fake_registry import Registry, manifest, running
from tests.end_to_end import accounts
from tests.end_to_end.parts import Listener, eventually, push_event, registry
from tests.end_to_end.test_imports import EAGER, PASSWORD, USER, again, condition, importing, pull_secret, stream
from tests.faults.line import Line
from tests.faults.world import DIGESTS, HOST, World, tried

pytestmark = pytest.mark.sandbox_only(reason="both the fault and the service without its protection are ours alone")


class Door:
    """A line that is TLS at this end, with a certificate that can be changed. It believes in two authorities: its own,
    and a stranger, whom nobody has named to the service.
    """

    def __init__(self, server: str) -> None:
        self.own, self.stranger = trustme.CA(), trustme.CA()
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.line = Line(URL(server), tls=self._tls)
        self.certify(self.own)

    def certify(self, authority: trustme.CA) -> None:
        """Show a new certificate from now on, and end what was begun with the former one."""
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)
        self.line.reset()
        self.line.mend()


class Pod:
    """The service as in a Pod: the files of its account, and the way to the API server by TLS."""

    def __init__(self, world: World, account: Account) -> None:
        self._world = world
        self._account = account
        self._files = world.folder / "pod"
        self._files.mkdir()
        self.door = Door(world.sandbox.url)
        self.door.own.cert_pem.write_to_path(self._files / "ca.crt")
        self.write(account.token)

    def write(self, token: str) -> None:
        new = self._files / "new"
        new.write_text(token)
        new.rename(self._files / "token")

    async def expire(self) -> str:
        """End the token; return another. Tokens end with their account, so that one is made again."""
        home, name = self._account.home, self._account.name
        path = f"/api/v1/namespaces/{home}/serviceaccounts"
        assert (await self._world.api.client.delete(f"{path}/{name}")).end == "applied"
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": home}}
        assert (await self._world.api.client.create(path, body)).end == "applied"
        return (await self._world.cluster.issue(home, name)).token

    def serve(self, server: URL) -> AbstractAsyncContextManager[Listener]:
        env = {"KUBERNETES_SERVICE_HOST": str(server.host), "KUBERNETES_SERVICE_PORT": str(server.port)}
        return self._world.serve(env={**self._world.program.env, **env, "LISTENER_POD": str(self._files)})


@asynccontextmanager
async def in_a_pod(world: World) -> AsyncIterator[tuple[Pod, Listener]]:
    registries = [registry(HOST, integrated=True, verify=False)]
    settings = {"registries": registries, "namespaces": [world.namespace], "leaderElection": {"enabled": False}}
    world.through_the_line = await accounts.as_installed(world.cluster, world.folder, settings, {})
    assert world.through_the_line.account is not None
    pod = Pod(world, world.through_the_line.account)
    async with pod.door.line.listen() as server, pod.serve(server) as listener:
        await listener.ready()
        yield pod, listener


async def _said(world: World, listener: Listener, digest: str) -> int | str:
    """Tell of a push; return the status, or that there is nobody."""
    try:
        return (await listener.deliver_once(push_event(HOST, f"{world.namespace}/web", "latest", digest)))[0]
    except aiohttp.ClientError:
        return "nobody"


async def _until_taken(world: World, listener: Listener, digest: str, what: str) -> None:
    async def taken() -> bool:
        return await _said(world, listener, digest) == 200

    await world.until(taken, what)


async def expired_token(world: World) -> None:
    async with in_a_pod(world) as (pod, listener):
        await world.push(listener, DIGESTS[0])
        token = await pod.expire()
        pod.door.line.reset()  # running watches are not asked for their token again
        pod.door.line.mend()
        said = await _said(world, listener, DIGESTS[1])
        world.promise(said == 503, f"what cannot be stored has to come again; it was {said}")
        pod.write(token)
        await _until_taken(world, listener, DIGESTS[1], "with a new token it goes on")
        await world.deploy("web")
        await world.until_runs("web", DIGESTS[1])

        pod.write("")
        pod.door.line.reset()
        pod.door.line.mend()
        fresh = (f"sha256:{number:064x}" for number in itertools.count(100))  # what is recorded is not stored again

        async def struck() -> tuple[int | str, str] | None:
            digest = next(fresh)
            said = await _said(world, listener, digest)
            return (said, digest) if said != 200 else None

        found = await eventually(struck, what="the token is read again")
        assert found is not None
        said, digest = found
        world.promise(said == 503, f"what cannot be stored has to come again; it was {said}")
        pod.write(token)
        await _until_taken(world, listener, digest, "with its token back it goes on")
        await world.until_runs("web", digest)


async def test_a_token_that_expires_is_read_again_and_one_that_cannot_be_read_is_waited_for(tmp_path: Path) -> None:
    """It is looked for after 0.2 s here instead of 60."""
    without = {"tokens_are_read_once": "with a new token", "every_broken_token_is_our_bug": "come again|token back"}
    await tried(expired_token, without=without, folder=tmp_path, shorter=("in_a_pod",))


async def another_certificate(world: World) -> None:
    async with in_a_pod(world) as (pod, listener):
        await world.push(listener, DIGESTS[0])
        pod.door.certify(pod.door.own)
        await _until_taken(world, listener, DIGESTS[1], "a certificate may be renewed")
        await world.deploy("first")
        await world.until_runs("first", DIGESTS[1])

        pod.door.certify(pod.door.stranger)
        await _said(world, listener, DIGESTS[2])  # a handshake that was under way has ended before this one
        pod.door.line.reset()
        pod.door.line.mend()
        heard = pod.door.line.came
        said = await _said(world, listener, DIGESTS[3])
        heard = pod.door.line.came - heard
        world.promise(not heard, f"a stranger hears nothing; there were {heard} connections")
        world.promise(said == 503, f"what cannot be stored has to come again; it was {said}")

        pod.door.certify(pod.door.own)
        await _until_taken(world, listener, DIGESTS[3], "with the right certificate it goes on")
        await world.deploy("second")
        await world.until_all_run(DIGESTS[3])


async def test_the_api_servers_certificate_may_be_renewed_and_not_be_a_strangers(tmp_path: Path) -> None:
    without = {"any_server_is_the_api_server": "a stranger hears", "broken_watches_are_left": "first runs"}
    await tried(another_certificate, without=without, folder=tmp_path, shorter=("in_a_pod",))


async def another_authority(world: World) -> None:
    server = Registry()
    digests = [server.push(f"{world.namespace}/web", "latest", manifest(str(number))) for number in range(3)]
    async with running(server):
        door = Door(server.url)
        authorities = world.folder / "ca.pem"
        door.own.cert_pem.write_to_path(authorities)
        async with door.line.listen() as url:

            async def tell(listener: Listener, digest: str) -> int:
                event = push_event(url.authority, f"{world.namespace}/web", "latest", digest)
                return (await listener.deliver_once(event))[0]

            settings = [registry(url.authority, integrated=True, caFile=str(authorities))]
            async with world.serve(registries=settings) as listener:

                async def taken() -> bool:
                    return await tell(listener, digests[1]) == 200

                await listener.ready()
                assert await tell(listener, digests[0]) == 200
                door.certify(door.stranger)
                await tell(listener, digests[2])  # a handshake that was under way has ended before this one
                door.line.reset()
                door.line.mend()
                heard = door.line.came
                said = await tell(listener, digests[1])
                heard = door.line.came - heard
                world.promise(not heard, f"a stranger hears nothing; there were {heard} connections")
                world.promise(said == 503, f"what cannot be confirmed has to come again; it was {said}")
                door.stranger.cert_pem.write_to_path(authorities)
                await world.until(taken, "who was a stranger may be named")
    history = await world.api.history(world.namespace, "web", "latest")
    world.promise(history == digests[1::-1], f"each push is in the history; it is {history}")


async def test_a_registry_with_another_authority_is_a_stranger_until_it_is_in_the_file(tmp_path: Path) -> None:
    without = {"any_server_is_the_registry": "a stranger hears", "ca_files_are_read_once": "may be named"}
    await tried(another_authority, without=without, folder=tmp_path)


async def secret_of_a_hook_disappears(world: World) -> None:
    file = world.folder / "secret"
    file.write_text("old")
    auth = {"bearer": {"secretFile": str(file)}}
    settings = [registry(HOST, integrated=True, verify=False, auth=auth)]
    async with world.serve(registries=settings) as listener:

        async def said(*shown: str) -> list[int]:
            event = push_event(HOST, f"{world.namespace}/web", "latest", DIGESTS[0])
            return [(await listener.deliver(event, secret=each))[0] for each in shown]

        await listener.ready()
        assert await said("old", "wrong") == [200, 401]
        for disappear in (lambda: file.write_text(""), file.unlink):
            disappear()
            strangers = await said("", "wrong")
            world.promise(strangers == [401, 401], f"without a secret nobody comes in; it was {strangers}")
            known = await said("old")
            world.promise(known == [200], f"who had the secret is let in until there is another; it was {known}")
        file.write_text("new")
        found = await said("old", "new", "")
        world.promise(found == [401, 200, 401], f"a new secret opens; it was {found}")


async def test_where_the_secret_of_a_hook_disappears_the_last_one_is_valid_and_no_other(tmp_path: Path) -> None:
    without = {"an_empty_secret_is_one": "nobody comes in", "secrets_go_with_their_file": "who had the secret"}
    await tried(secret_of_a_hook_disappears, without=without, folder=tmp_path)


async def pull_secret_disappears(world: World) -> None:
    server = Registry(logins={USER: PASSWORD}, readers={"team/web": {USER}})
    digest = server.push("team/web", "1", manifest("web"))
    async with running(server):
        await world.api.create(pull_secret(world.namespace, server.host))
        await world.api.create(
            stream(world.namespace, importing("live", f"{server.host}/team/web:1", insecure=True, scheduled=True))
        )
        settings = [registry(server.host, insecure=True)]

        async def imported() -> bool:
            return await condition(world.api, world.namespace, "live") == ("True", "")

        async def refused() -> bool:
            return await condition(world.api, world.namespace, "live") == ("False", "Unauthorized")

        async def imported_again() -> bool:
            await again(world.api, world.namespace)
            return await imported()

        async with world.serve(registries=settings, imports=EAGER, rbac={"pullSecrets": True}) as listener:
            await listener.ready()
            await eventually(imported, what="it is imported")
            path = f"/api/v1/namespaces/{world.namespace}/secrets/pull"
            assert (await world.api.client.delete(path)).end == "applied"
            await world.until(refused, "without its secret a tag says that it has no access")
            history = await world.api.history(world.namespace, "web", "live")
            world.promise(history == [digest], f"what was imported stays; it is {history}")
            await world.api.create(pull_secret(world.namespace, server.host))
            await world.until(imported_again, "with its secret back it is imported")


async def test_a_pull_secret_is_used_no_more_when_it_is_gone_and_at_once_when_it_is_back(tmp_path: Path) -> None:
    """It is read again after 0.2 s here instead of 60."""
    without = {"pull_secrets_are_read_once": "has no access"}
    await tried(pull_secret_disappears, without=without, folder=tmp_path, shorter=("short_memory_of_pull_secrets",))
