"""Streams and workloads as their people read and write them: JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tests.model.reference import Item

Document = dict[str, Any]

HOLD: Final = "imagestreams.dev/hold"
TRIGGERS: Final = "image.openshift.io/triggers"


def status_tag(stream: Mapping[str, Any], tag: str) -> tuple[list[Item], list[Item]]:
    """What a tag of a stream has, and what waits there, newest first."""
    tags: list[Document] = stream.get("status", {}).get("tags") or []
    found: Document = next((each for each in tags if each["tag"] == tag), {})
    items, waiting = (
        [Item(each["dockerImageReference"], each["image"]) for each in found.get(part) or ()]
        for part in ("items", "waiting")
    )
    return items, waiting


def spec_tags(stream: Mapping[str, Any]) -> list[Document]:
    found: list[Document] = stream.get("spec", {}).get("tags") or []
    return found


def held(spec_tag: Document | None, tag: str, at: str) -> Document:
    """A spec tag with a hold; a placeholder for it where there is none."""
    return {**(spec_tag or {"name": tag}), "annotations": {HOLD: at}}


def containers(found: Document) -> list[Document]:
    spec = found["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
    listed: list[Document] = template["spec"]["containers"]
    return listed


def triggers(kind: str, follows: Mapping[str, str], *, paused: bool = False) -> str:
    """The annotation that lets containers follow tags."""
    base = "spec.jobTemplate.spec.template.spec" if kind == "CronJob" else "spec.template.spec"
    found = [
        {
            "from": {"kind": "ImageStreamTag", "name": tag},
            "fieldPath": f'{base}.containers[?(@.name=="{container}")].image',
            "paused": paused,
        }
        for container, tag in follows.items()
    ]
    return json.dumps(found)


def follows(workload: Document) -> dict[str, str]:
    """Which tag each container of a workload names; those of paused triggers name none."""
    found = json.loads((workload["metadata"].get("annotations") or {}).get(TRIGGERS) or "[]")
    return {_container(each["fieldPath"]): each["from"]["name"] for each in found if not each.get("paused")}


def _container(field_path: str) -> str:
    return field_path.partition('=="')[2].partition('"')[0]
