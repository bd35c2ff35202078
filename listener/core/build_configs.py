"""OpenShift's BuildConfig: its own triggers, and the build that a moved tag asks for.

One request asks for one build, however many of the triggers fired. The server that takes it records in the BuildConfig
which images were built, and refuses one that was built already: so a restart of ours builds nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from listener.core.actions import ImageChange, Plan, Start, View, Why, why
from listener.core.kinds import Kind
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import Trigger, Triggers, stream_tag
from listener.core.workloads import Workload

_STRATEGIES = ("sourceStrategy", "dockerStrategy", "customStrategy")


@dataclass(frozen=True, slots=True)
class BuildTrigger(Trigger):
    """`last` is the image that was built last because of this entry."""

    last: str

    def as_written(self) -> BuildTrigger:
        return replace(self, last="")


def read(spec: Mapping[str, Any], status: Mapping[str, Any], *, namespace: str) -> Triggers:
    """Read `spec.triggers`. An entry without `from` follows the image that the strategy builds from."""
    built = {
        ((entry.get("from") or {}).get("namespace") or namespace, (entry.get("from") or {}).get("name")): entry
        for entry in status.get("imageChangeTriggers") or ()
    }
    valid = []
    problems = []
    for position, entry in enumerate(spec.get("triggers") or ()):
        if entry.get("type") != "ImageChange":
            continue
        parameters = entry.get("imageChange") or {}
        source = parameters.get("from") or _strategy_source(spec)
        if (source.get("kind") or "ImageStreamTag") != "ImageStreamTag" or not source:
            continue
        where = f"spec.triggers[{position}].imageChange"
        name = str(source.get("name") or "")
        found = stream_tag(name)
        if found is None:
            problems.append(f'{where}.from.name: expected STREAM:TAG, such as "base:latest", found "{name}"')
            continue
        stream, tag = found
        stream_namespace = source.get("namespace") or namespace
        recorded = built.get((stream_namespace, name), {}).get("lastTriggeredImageID")
        valid.append(
            BuildTrigger(
                StreamKey(stream_namespace, stream),
                tag,
                paused=bool(parameters.get("paused")),
                field_path=where,
                last=str(recorded or parameters.get("lastTriggeredImageID") or ""),
            )
        )
    return Triggers(tuple(valid), tuple(problems))


def plan(workload: Workload, kind: Kind, view: View, *, now: datetime) -> Plan:
    """Plan the request for a build, if a trigger's tag moved since the last one. A tag that is nothing yet waits."""
    fired: list[tuple[BuildTrigger, Resolved]] = []
    last: Why | None = None
    waits = False
    for trigger in workload.triggers.valid:
        assert isinstance(trigger, BuildTrigger)  # noqa: S101 - as this form of kind is read
        if trigger.paused:
            continue
        resolved = view.resolve(trigger.stream, trigger.tag)
        if resolved is None:
            waits = True
        elif resolved.pull_spec != trigger.last:
            fired.append((trigger, resolved))
            last = why(trigger.stream, trigger.tag, resolved, now, view)
    changes = tuple(
        ImageChange("", trigger.last, resolved.pull_spec, trigger.stream, trigger.tag, resolved.digest)
        for trigger, resolved in fired
    )
    start = Start(kind.api_version, kind.plural, workload.key.name, "instantiate", _request(workload, kind, fired))
    return Plan(changes, (), start if fired else None, workload.triggers.problems, waits, why=last)


def _strategy_source(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    strategy = spec.get("strategy") or {}
    for name in _STRATEGIES:
        if source := (strategy.get(name) or {}).get("from"):
            found: Mapping[str, Any] = source
            # Here no kind means no stream: a strategy's source names its kind.
            return found if found.get("kind") else {}
    return {}


def _request(workload: Workload, kind: Kind, fired: Sequence[tuple[BuildTrigger, Resolved]]) -> Mapping[str, object]:
    images = {(trigger.stream, trigger.tag): resolved.pull_spec for trigger, resolved in fired}
    sources = [(_source(stream, tag), image) for (stream, tag), image in images.items()]
    first: dict[str, object] = {}
    if sources:
        first = {"from": sources[0][0], "triggeredByImage": {"kind": "DockerImage", "name": sources[0][1]}}
    return {
        "apiVersion": kind.api_version,
        "kind": "BuildRequest",
        "metadata": {"name": workload.key.name, "namespace": workload.key.namespace},
        **first,
        "triggeredBy": [
            {"message": "Image change", "imageChangeBuild": {"imageID": image, "fromRef": source}}
            for source, image in sources
        ],
    }


def _source(stream: StreamKey, tag: str) -> Mapping[str, str]:
    return {"kind": "ImageStreamTag", "namespace": stream.namespace, "name": f"{stream.name}:{tag}"}
