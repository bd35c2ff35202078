"""What the guides tell people to paste, pasted: only the addresses and the secret are put in."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from listener.sandbox.images import make_image
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.parts import SECRET, Api, eventually, free_port, serve
from tests.real_parts import DockerRegistry, Skopeo, run

STREAM = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream"}


def block(dialect: str, kind: str, **instead: str) -> str:
    """A guide's fenced block, with some of its words replaced; each must be there."""
    text = resources.files("listener.dialects").joinpath(f"{dialect}.md").read_text("utf-8")
    found = re.search(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"the guide of {dialect} has no block {kind}"
    pasted = found[1]
    for old, new in instead.items():
        assert old in pasted
        pasted = pasted.replace(old, new)
    return pasted


def settings(dialect: str, folder: Path, host: str) -> list[dict[str, Any]]:
    """The guide's settings, for a registry that speaks plain http on loopback."""
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    text = block(
        dialect,
        "yaml settings",
        **{"/etc/listener/secrets/team": str(secret), "host: registry.example.com": f"host: {host}"},
    )
    (found,) = yaml.safe_load(text)["registries"]
    return [found | {"insecure": True}]


async def create_stream(api: Api, namespace: str, host: str) -> None:
    metadata = {"name": "web", "namespace": namespace}
    await api.create(STREAM | {"metadata": metadata, "spec": {"dockerImageRepository": f"{host}/team/web"}})


async def test_distribution_s_guide_makes_a_real_registry_call_us(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    tmp_path: Path,
) -> None:
    namespace, port = await cluster.namespace("guide"), free_port()
    theirs = block(
        "distribution",
        "yaml registry",
        **{"https://listener.example.com": f"http://127.0.0.1:{port}", "SECRET": SECRET},
    )
    real = docker_registry(notifications=yaml.safe_load(theirs)["notifications"])
    await create_stream(api, namespace, real.host)
    ours = settings("distribution", tmp_path, real.host)
    async with serve(cluster, tmp_path, registries=ours, namespaces=[namespace], hooks_port=port) as listener:
        await listener.ready()
        image = make_image(namespace)
        await skopeo.push(image, f"{real.host}/team/web:v1")

        async def stored() -> list[str]:
            return await api.history(namespace, "web", "v1")

        assert await eventually(stored, what="the push is stored") == [image.digest]

        async def answered() -> bool:
            return await listener.metric("listener_hooks_total") > 0

        await eventually(answered, what="the registry has its answer")
        # One event for the manifest, none for the layers before it.
        assert await listener.metric("listener_hooks_total") == 1


@pytest.mark.parametrize(
    ("dialect", "kind", "auth"),
    [
        pytest.param("generic", "sh", None, id="signed"),
        pytest.param("generic", "sh bearer", {"bearer": {"secretEnv": "TEAM_SECRET"}}, id="bearer"),
        pytest.param("cloudevents", "sh", None, id="CloudEvent"),
    ],
)
async def test_the_line_of_curl_moves_a_tag(
    cluster: ClusterUnderTest,
    api: Api,
    docker_registry: Callable[..., DockerRegistry],
    skopeo: Skopeo,
    tmp_path: Path,
    dialect: str,
    kind: str,
    auth: dict[str, Any] | None,
) -> None:
    namespace, port = await cluster.namespace("guide"), free_port()
    real = docker_registry()
    await create_stream(api, namespace, real.host)
    (ours,) = settings(dialect, tmp_path, real.host)
    found = ours | ({"auth": auth} if auth else {})
    async with serve(cluster, tmp_path, registries=[found], namespaces=[namespace], hooks_port=port) as listener:
        await listener.ready()
        await eventually(lambda: api.events(namespace, "ImportFailed"), what="the empty repository was looked at")
        image = make_image(namespace)
        await skopeo.push(image, f"{real.host}/team/web:v1")
        variables = (f"URL=http://127.0.0.1:{port}/hooks/team", f"SECRET={SECRET}")
        answer = await run("env", *variables, "sh", "-euc", block(dialect, kind))
        assert '"outcome":"moved"' in answer
        assert await api.history(namespace, "web", "v1") == [image.digest]
