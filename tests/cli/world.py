"""A namespace of its own, what stands in it, and commands that look at it. No service runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from listener.core.history import TagHistory, TagItem
from listener.core.streams import StreamKey
from listener.edges.cluster import Cluster
from tests.cli.parts import Done, run
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end import objects

REPOSITORY = "r.example/shop/web"
A, B, C = ("sha256:" + letter * 64 for letter in "abc")
SHORT_A, SHORT_B, SHORT_C = (f"{REPOSITORY}@sha256:{letter * 12}" for letter in "abc")


def image(digest: str) -> str:
    return f"{REPOSITORY}@{digest}"


@dataclass(frozen=True, slots=True)
class World:
    """`namespace` is empty at first."""

    client: Cluster
    under_test: ClusterUnderTest
    namespace: str

    async def listener(self, *args: str | Path) -> Done:
        """Run a command in the namespace."""
        return await run(*args, "-n", self.namespace, "--kubeconfig", self.under_test.kubeconfig)

    async def stream(
        self, name: str, *tags: Mapping[str, Any], namespace: str | None = None, **histories: tuple[str, ...]
    ) -> None:
        """Make a stream whose tags have pointed at these digests, newest first."""
        key = StreamKey(namespace or self.namespace, name)
        made = await self.client.create_stream(key, {"tags": list(tags)})
        assert made.stored is not None, made.message
        stream = made.stored
        for tag, digests in histories.items():
            items = tuple(TagItem("2026-01-01T00:00:00Z", image(digest), digest, 1) for digest in digests)
            stream = stream.with_history(TagHistory(tag, items))
        if histories:
            stored = await self.client.store_status(stream)
            assert stored.stored is not None, stored.message

    async def workload(
        self, name: str, annotation: str | None = None, *, kind: str = "Deployment", namespace: str | None = None
    ) -> None:
        """Make a workload with the containers sidecar (sidecar:1) and web (not-pushed-yet)."""
        await self.create(objects.workload(kind, namespace or self.namespace, name, annotation))

    async def create(self, body: Mapping[str, Any]) -> None:
        path = objects.path_of(body["kind"], body["metadata"]["namespace"])
        outcome = await self.client.create(path, body)
        assert outcome.end == "applied", outcome.message

    async def get(self, name: str, kind: str = "Deployment") -> Any:
        return msgspec.json.decode(await self.client.get(objects.path_of(kind, self.namespace, name)))

    async def annotations(self, name: str, kind: str = "Deployment") -> dict[str, str]:
        """The workload's own, as somebody wrote them."""
        found = (await self.get(name, kind))["metadata"].get("annotations", {})
        return {key: value for key, value in found.items() if "openshift.io" in key}
