"""Local lookup, as users have it: the chart's webhook, asked by the cluster's own API server.

The service answers on loopback, so the webhook has a `url` where the chart writes a Service. It is who the chart makes
it, with the chart's rights and no others.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from listener.core import lookups
from listener.core.kinds import (
    CRON_JOB,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    JOB,
    KINDS,
    POD,
    REPLICA_SET,
    STATEFUL_SET,
    Kind,
)
from listener.core.lookups import RESOLVE_NAMES, WAITS_FOR
from listener.core.outcomes import End
from listener.core.workloads import WorkloadKey
from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest
from tests.definitions import define
from tests.end_to_end import test_kinds as kinds
from tests.end_to_end.parts import Api, Listener, eventually, free_port, push_event, registry, serve
from tests.test_chart import NAME
from tests.test_chart_lookup import RIGHTS, objects_of

HOST = "registry.example.com"
HOSTED = f"{HOST}/example:v1"
A, B = (f"sha256:{number:064x}" for number in (1, 2))
TRIGGERS = "image.openshift.io/triggers"
PROBE = CRON_JOB  # its controller changes nothing but the status, so questions about it are ours alone


@dataclass(frozen=True, slots=True)
class Said:
    """What kubectl wrote."""

    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """The chart's webhook for one namespace, and the service behind it. `account` is the cluster as that sees it."""

    api: Api
    account: ClusterUnderTest
    namespace: str
    secret: tuple[str, str]
    settings: dict[str, Any]
    folder: Path
    program: Path

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Listener]:
        """Run the service; the block begins once the API server asks it."""
        async with serve(self.account, self.folder, **self.settings) as listener:
            await listener.ready()

            async def is_asked() -> bool:
                key = WorkloadKey(PROBE.label, self.namespace, "probe")
                change = set_image(PROBE, 0, "no-stream:v2")
                outcome = await self.api.client.patch_workload(PROBE, key, [change], dry_run=True)
                assert outcome.end is End.APPLIED, outcome.message
                return await questions(listener) > 0

            await eventually(is_asked, what="the API server asks the service")
            yield listener

    async def kubectl(self, *command: str, manifest: Mapping[str, Any] | None = None) -> Said:
        process = await asyncio.create_subprocess_exec(
            *(self.program, "--kubeconfig", self.api.under_test.kubeconfig, "--namespace", self.namespace),
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        async with asyncio.timeout(30):
            output, errors = await process.communicate(json.dumps(manifest).encode() if manifest else b"")
        assert process.returncode == 0, errors.decode()
        return Said(output.decode(), errors.decode())

    async def create_stream(self, name: str, *, local: bool = True, **spec: Any) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        stream = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": metadata}
        await self.api.create(stream | {"spec": {"lookupPolicy": {"local": local}, **spec}})

    async def push(self, listener: Listener, digest: str, tag: str = "v1", stream: str = "example") -> str:
        """Push to the repository that is a stream; return what its tag means from then on."""
        status, answer = await listener.deliver(push_event(HOST, f"{self.namespace}/{stream}", tag, digest))
        assert status == 200, answer
        return f"{HOST}/{self.namespace}/{stream}@{digest}"

    async def create(self, kind: Kind, name: str, images: Mapping[str, str], **more: Any) -> dict[str, str]:
        """Create an object; return its images as they are stored."""
        return images_of(kind, await kinds.create(self.api, kind, self.namespace, workload(kind, name, images, **more)))

    async def change(self, kind: Kind, name: str, *operations: Mapping[str, Any]) -> dict[str, str]:
        """Send a JSON Patch; return the images as they are stored."""
        key = WorkloadKey(kind.label, self.namespace, name)
        outcome = await self.api.client.patch_workload(kind, key, operations)
        assert outcome.end is End.APPLIED, f"{kind.name} {name}: {outcome.message}"
        return await self.images(kind, name)

    async def fetch(self, kind: Kind, name: str) -> dict[str, Any]:
        return await kinds.fetch(self.api, kind, self.namespace, name)

    async def images(self, kind: Kind, name: str) -> dict[str, str]:
        return images_of(kind, await self.fetch(kind, name))

    async def run(self, kind: Kind, name: str, images: Mapping[str, str]) -> None:
        """Wait until an object has these images."""

        async def does() -> bool:
            return await self.images(kind, name) == images

        await eventually(does, what=f"{kind.name} {name} has {images}")

    async def made(self, image: str) -> None:
        """Wait until controllers have made what runs the image: a ReplicaSet, and on a real cluster its Pod."""
        for kind in (REPLICA_SET,) if self.account.sandbox else (REPLICA_SET, POD):
            await eventually(partial(self._is_made, kind, image), what=f"a {kind.name} has {image}")

    async def _is_made(self, kind: Kind, image: str) -> bool:
        found = await kinds.items(self.api, await kinds.path(self.api, kind, self.namespace))
        return {"web": image} in [images_of(kind, each) for each in found if "ownerReferences" in each["metadata"]]


@pytest.fixture
async def lookup(
    cluster: ClusterUnderTest, api: Api, helm: Path, kubectl: Path, tmp_path: Path
) -> AsyncIterator[Lookup]:
    """Install what the chart does for lookup, in a namespace of its own; the service itself is for the test to run."""
    home, namespace = await cluster.namespace("lookup-service"), await cluster.namespace("lookup")
    values = {
        "lookup": {"enabled": True},
        "rbac": {"openshift": True},
        "settings": {
            "namespaces": [namespace],
            "registries": [registry(HOST, integrated=True, verify=False)],
        },
    }
    objects = await objects_of(helm, tmp_path, home, values)
    by_kind = {found["kind"]: found for found in objects}
    port = free_port()
    (webhook,) = by_kind["MutatingWebhookConfiguration"]["webhooks"]
    webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{webhook['clientConfig']['service']['path']}"}
    settings = yaml.safe_load(by_kind["ConfigMap"]["data"]["config.yaml"])
    settings["lookup"]["hosts"] = ["127.0.0.1"]
    settings["listen"] = {
        **dict.fromkeys(("hooks", "monitoring"), "127.0.0.1:0"),
        "admission": f"127.0.0.1:{port}",  # the same one again after a restart
    }

    admin = (kubectl, "--kubeconfig", cluster.kubeconfig)
    wanted = {"Secret", "MutatingWebhookConfiguration"} | RIGHTS
    installed = {"apiVersion": "v1", "kind": "List", "items": [each for each in objects if each["kind"] in wanted]}
    try:
        await real_parts.run(*admin, "create", "--filename=-", stdin=json.dumps(installed))
        secret = (home, by_kind["Secret"]["metadata"]["name"])
        account = cluster.let_in(await cluster.issue(home, NAME), tmp_path)
        found = Lookup(api, account, namespace, secret, settings, tmp_path / "service", kubectl)
        await found.create(PROBE, "probe", {"web": "no-stream:v1"})
        account_path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        await eventually(lambda: api.client.find(account_path, bytes), what="Pods can be created")
        yield found
    finally:
        if cluster.sandbox is None:
            options = ("--wait=false", "--ignore-not-found", "--filename=-")
            await real_parts.run(*admin, "delete", *options, stdin=json.dumps(installed))


def workload(
    kind: Kind,
    name: str,
    images: Mapping[str, str],
    *,
    setup: str = "",
    replicas: int = 0,
    annotations: Mapping[str, str] | None = None,
    on_template: Mapping[str, str] | None = None,
    owner: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An object whose containers have these images; `setup` is the one of an init container. No node would run it."""
    body = kinds.workload(kind, name, annotations or {})
    pod_spec = pod_spec_of(kind, body)
    pod_spec["containers"] = [{"name": container, "image": image} for container, image in images.items()]
    del pod_spec["initContainers"]
    if setup:
        pod_spec["initContainers"] = [{"name": "setup", "image": setup}]
    if "replicas" in body["spec"]:
        body["spec"]["replicas"] = replicas
    if on_template:
        body["spec"]["template"]["metadata"]["annotations"] = dict(on_template)
    if owner:
        body["metadata"]["ownerReferences"] = [dict(owner)]
    return body


def pod_spec_of(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    found: Any = body
    for part in kind.pod_spec_path:
        found = found[part]
    assert isinstance(found, dict)
    return found


def images_of(kind: Kind, body: Mapping[str, Any]) -> dict[str, str]:
    """Container name to image."""
    pod_spec = pod_spec_of(kind, body)
    return {each["name"]: each["image"] for each in (*pod_spec.get("initContainers", ()), *pod_spec["containers"])}


def trigger(kind: Kind, stream_tag: str) -> dict[str, str]:
    """The annotation for container `web`."""
    (entry,) = json.loads(kinds.follows(kind)[TRIGGERS])
    entry["from"]["name"] = stream_tag
    return {TRIGGERS: json.dumps([entry])}


def set_image(kind: Kind, index: int, image: str) -> dict[str, Any]:
    return {"op": "replace", "path": f"/{'/'.join(kind.pod_spec_path)}/containers/{index}/image", "value": image}


async def questions(listener: Listener) -> float:
    """How often the service was asked about an object."""
    return await listener.metric("listener_lookup_seconds_count")


async def test_a_deployment_that_names_a_tag_runs_its_digest_and_rolls_with_the_next_push(lookup: Lookup) -> None:
    await lookup.create_stream("example")
    annotations = trigger(DEPLOYMENT, "example:v1")
    images = {"web": "example:v1"}
    assert HOST not in json.dumps(workload(DEPLOYMENT, "web", images, annotations=annotations))
    async with lookup.serving() as listener:
        first = await lookup.push(listener, A)
        before = await questions(listener)
        assert await lookup.create(DEPLOYMENT, "web", images, annotations=annotations, replicas=1) == {"web": first}
        await lookup.made(first)
        assert (await lookup.fetch(DEPLOYMENT, "web"))["metadata"]["generation"] == 1

        second = await lookup.push(listener, B)
        await lookup.run(DEPLOYMENT, "web", {"web": second})
        await lookup.made(second)
        assert (await lookup.fetch(DEPLOYMENT, "web"))["metadata"]["generation"] == 2
        assert await questions(listener) == before + 1, "about the Deployment alone, as it was created"


async def test_what_a_controller_made_is_as_it_made_it(lookup: Lookup) -> None:
    await lookup.create_stream("example")
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}
    made = await lookup.kubectl("create", "--output=json", "--filename=-", manifest=config_map)
    uid = json.loads(made.output)["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    async with lookup.serving() as listener:
        image = await lookup.push(listener, A)
        before = await questions(listener)
        for kind in (REPLICA_SET, POD):
            images = await lookup.create(kind, "made", {"web": "example:v1"}, owner=owner | {"controller": True})
            assert images == {"web": "example:v1"}, kind.name
        assert await questions(listener) == before
        for kind in (REPLICA_SET, POD):
            assert await lookup.create(kind, "owned", {"web": "example:v1"}, owner=owner) == {"web": image}, kind.name


NAMING = [kind for kind in KINDS if lookups.concerns(kind)]


async def test_every_kind_is_looked_up_as_it_is_created_and_where_it_is_changed(
    cluster: ClusterUnderTest, lookup: Lookup
) -> None:
    """Those that were there before the service have a name that is left to a trigger, whose tag is never pushed."""
    await define(cluster, "deploymentconfigs.apps.openshift.io")
    await lookup.create_stream("example")
    changed = [kind for kind in NAMING if kind is not JOB]
    for kind in NAMING:
        before = workload(kind, "before", {"web": "example:v1", "sidecar": HOSTED}, setup=HOSTED)
        if kind is DEPLOYMENT_CONFIG:
            before["spec"]["triggers"] = [kinds.image_change("example:never", "web")]
        else:
            before["metadata"]["annotations"] = trigger(kind, "example:never")
        stored = await kinds.create(lookup.api, kind, lookup.namespace, before)
        assert images_of(kind, stored) == {"setup": HOSTED, "web": "example:v1", "sidecar": HOSTED}, kind.name
    async with lookup.serving() as listener:
        image = await lookup.push(listener, A)
        for kind in NAMING:
            created = await lookup.create(kind, "new", {"web": "example:v1", "sidecar": HOSTED}, setup="example:v1")
            assert created == {"setup": image, "web": image, "sidecar": HOSTED}, kind.name
        for kind in changed:
            found = await lookup.change(kind, "before", set_image(kind, 1, "example:v1"))
            assert found == {"setup": HOSTED, "web": "example:v1", "sidecar": image}, kind.name
        annotate = {"op": "add", "path": "/metadata/annotations/note", "value": "a Job's images cannot be changed"}
        found = await lookup.change(JOB, "before", annotate)
        assert found == {"setup": HOSTED, "web": "example:v1", "sidecar": HOSTED}


FORCED = {RESOLVE_NAMES: "*"}


async def test_an_object_can_ask_for_it_where_the_stream_does_not(lookup: Lookup) -> None:
    await lookup.create_stream("example", local=False)
    names = {"web": "example:v1", "other": "anything/example:v1", "hosted": HOSTED, "unknown": "unknown:v1"}
    async with lookup.serving() as listener:
        image = await lookup.push(listener, A)
        resolved = names | {"web": image, "other": image}
        assert await lookup.create(DEPLOYMENT, "plain", names) == names
        assert await lookup.create(DEPLOYMENT, "odd", names, annotations={RESOLVE_NAMES: "true"}) == names
        assert await lookup.create(DEPLOYMENT, "whole", names, annotations=FORCED) == resolved
        assert await lookup.create(DEPLOYMENT, "template", names, on_template=FORCED) == resolved
        assert await lookup.create(POD, "pod", names, annotations=FORCED) == resolved

        force = {"op": "add", "path": "/metadata/annotations", "value": FORCED}
        assert await lookup.change(DEPLOYMENT, "plain", force) == resolved


async def test_a_name_waits_for_its_tag_in_the_repository_of_its_stream(lookup: Lookup) -> None:
    """So that no other image of that name is pulled. The annotation tells what the repository stands for."""
    await lookup.create_stream("example")
    async with lookup.serving() as listener:

        async def repository() -> Any:
            found = await lookup.api.stream(lookup.namespace, "example")
            return found.get("status", {}).get("dockerImageRepository")

        own = await eventually(repository, what="the stream has a repository")
        assert own == f"{HOST}/{lookup.namespace}/example"
        names = {"web": "example:v1", "hosted": HOSTED}
        said = await lookup.kubectl("apply", "--filename=-", manifest=workload(DEPLOYMENT, "web", names))
        why = f"waits for ImageStreamTag {lookup.namespace}/example:v1, which points at nothing yet"
        assert said.errors == f'Warning: container web: image "example:v1" {why}; until then it is {own}:v1\n'
        found = await lookup.fetch(DEPLOYMENT, "web")
        assert images_of(DEPLOYMENT, found) == {"web": f"{own}:v1", "hosted": HOSTED}
        assert json.loads(found["metadata"]["annotations"][WAITS_FOR]) == {"web": "example:v1"}

        image = await lookup.push(listener, A)
        await lookup.run(DEPLOYMENT, "web", {"web": image, "hosted": HOSTED})
        assert WAITS_FOR not in (await lookup.fetch(DEPLOYMENT, "web"))["metadata"]["annotations"]


async def test_a_name_stays_as_it_is_until_its_tag_is_there_if_its_stream_has_no_repository(lookup: Lookup) -> None:
    """Nothing could be put in that is known to be the tag's; so there is nothing to remember either."""
    lookup.settings["registries"] = [registry(HOST, verify=False)]
    source = {"kind": "DockerImage", "name": f"{HOST}/team/web:v7"}
    await lookup.create_stream("example", tags=[{"name": "v1", "from": source}])
    async with lookup.serving() as listener:
        assert await lookup.create(DEPLOYMENT, "web", {"web": "example:v1"}) == {"web": "example:v1"}
        assert WAITS_FOR not in (await lookup.fetch(DEPLOYMENT, "web"))["metadata"].get("annotations", {})
        status, answer = await listener.deliver(push_event(HOST, "team/web", "v7", A))
        assert status == 200, answer
        await lookup.run(DEPLOYMENT, "web", {"web": f"{HOST}/team/web@{A}"})


async def test_what_is_created_while_the_service_is_down_is_stored_and_resolved_later(lookup: Lookup) -> None:
    await lookup.create_stream("example")
    async with lookup.serving() as listener:
        image = await lookup.push(listener, A)
    created = await lookup.create(DEPLOYMENT, "web", {"web": "example:v1", "hosted": HOSTED})
    assert created == {"web": "example:v1", "hosted": HOSTED}
    async with lookup.serving():
        await lookup.run(DEPLOYMENT, "web", {"web": image, "hosted": HOSTED})


async def test_a_certificate_that_is_lost_is_made_anew(lookup: Lookup) -> None:
    """While the service runs too, but that takes up to a minute."""
    await lookup.create_stream("example")
    home, name = lookup.secret
    async with lookup.serving() as listener:
        image = await lookup.push(listener, A)
    before = await lookup.api.client.get_secret(home, name)
    assert before is not None
    assert before.data
    await lookup.kubectl("patch", "secret", name, f"--namespace={home}", "--type=merge", '--patch={"data":null}')
    async with lookup.serving():
        assert await lookup.create(DEPLOYMENT, "web", {"web": "example:v1"}) == {"web": image}
    after = await lookup.api.client.get_secret(home, name)
    assert after is not None
    assert after.data.keys() == before.data.keys()
    assert all(after.data[key] != value for key, value in before.data.items())


@pytest.mark.parametrize("mode", ["--server-side=false", "--server-side"])
async def test_kubectl_apply_tells_of_it_and_does_not_fight(lookup: Lookup, mode: str) -> None:
    """Who applies on the server, and has a trigger too, must insist: to the server, each of two has set the image."""
    await lookup.create_stream("example")
    manifest = workload(DEPLOYMENT, "web", {"web": "example:v1"}, annotations=trigger(DEPLOYMENT, "example:v1"))
    insist = ("--force-conflicts",) if mode == "--server-side" else ()
    async with lookup.serving() as listener:

        async def apply(image: str, *, generation: int, options: Sequence[str] = ()) -> None:
            said = await lookup.kubectl("apply", mode, *options, "--filename=-", manifest=manifest)
            assert said.errors == f'Warning: container web: image "example:v1" is {image} now\n'
            found = await lookup.fetch(DEPLOYMENT, "web")
            assert images_of(DEPLOYMENT, found) == {"web": image}
            assert found["metadata"]["generation"] == generation

        first = await lookup.push(listener, A)
        await apply(first, generation=1)
        await apply(first, generation=1)
        second = await lookup.push(listener, B)
        await lookup.run(DEPLOYMENT, "web", {"web": second})
        await apply(second, generation=2, options=insist)
        await apply(second, generation=2)
        diff = await lookup.kubectl("diff", mode, "--filename=-", manifest=manifest)
        assert diff.output == ""


async def test_the_services_own_patches_are_not_shown_to_it(lookup: Lookup) -> None:
    """Not even with an image that may be a name."""
    await lookup.create_stream("example")
    images = {"web": "example:v1", "sidecar": "no-stream:v1"}
    async with lookup.serving() as listener:
        first = await lookup.push(listener, A)
        annotations = trigger(STATEFUL_SET, "example:v1")
        assert await lookup.create(STATEFUL_SET, "web", images, annotations=annotations) == images | {"web": first}
        before = await questions(listener), await listener.metric("listener_lookups_total")
        second = await lookup.push(listener, B)
        await lookup.run(STATEFUL_SET, "web", images | {"web": second})
        assert (await questions(listener), await listener.metric("listener_lookups_total")) == before
