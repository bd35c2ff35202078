"""Builds of plain Kubernetes: a Shipwright Build or a Tekton Pipeline whose tag moved is run.

One run for one change, however often we restart and however many of us there are: a run's name follows from the object
and the number of runs it had, so a second one is refused by its name; then the object itself remembers number and
images (annotation last-triggered). What was cut off between the two is found again by the name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from listener.core.actions import LAST_TRIGGERED, ImageChange, Operation, Plan, Start, View, Why, annotate, why
from listener.core.kinds import Kind, Runs
from listener.core.triggers import RunTrigger
from listener.core.workloads import Record, Workload

_LONGEST_NAME = 63  # a run's name becomes the value of a label
_NUMBER_DIGITS = 10


def read_record(text: str | None) -> Record:
    """Read what an object remembers of its last run. What is no record of ours counts as none."""
    try:
        found: Any = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return Record()
    if not isinstance(found, dict):
        return Record()
    number, images = found.get("number"), found.get("images")
    if type(number) is not int or number < 0 or not isinstance(images, dict):
        return Record()
    return Record(number, {str(tag): str(image) for tag, image in images.items()})


def plan(workload: Workload, kind: Kind, view: View, *, now: datetime) -> Plan:
    """Plan the run that a moved tag asks for, and what the object shall remember of it.

    A run waits until every tag whose image it is told points at something.
    """
    assert kind.runs is not None  # noqa: S101 - as this form of kind is declared
    record = workload.record or Record()
    changes = []
    parameters = []
    images: dict[str, str] = {}
    last: Why | None = None
    waits = False
    for trigger in workload.triggers.valid:
        assert isinstance(trigger, RunTrigger)  # noqa: S101 - as this form of kind is read
        tag = f"{trigger.stream}:{trigger.tag}"
        before = record.images.get(tag, "")
        resolved = view.resolve(trigger.stream, trigger.tag)
        after = before if trigger.paused or resolved is None else resolved.pull_spec
        if after:
            if trigger.paused:
                images.setdefault(tag, after)  # another trigger on the tag may go on with it
            else:
                images[tag] = after
            if trigger.parameter:
                parameters.append({"name": trigger.parameter, "value": after})
        elif trigger.parameter and not trigger.paused:
            waits = True
        if resolved and after != before:
            changes.append(ImageChange(trigger.parameter, before, after, trigger.stream, trigger.tag, resolved.digest))
            last = why(trigger.stream, trigger.tag, resolved, now, view)
    if last is None or waits:
        return Plan(problems=workload.triggers.problems, waits=waits)
    record = Record(record.number + 1, images)
    name = run_name(workload, record.number)
    text = json.dumps({**last.fields, "run": name, "number": record.number, "images": images}, separators=(",", ":"))
    start = Start(kind.runs.api_version, kind.runs.plural, name, "", _run(workload, kind.runs, name, text, parameters))
    return Plan(tuple(changes), _remember(workload, text), start, workload.triggers.problems, why=last)


def catch_up(workload: Workload, text: str | None) -> tuple[Operation, ...]:
    """Let the object remember the run that has the name of its next one, with the annotation `text`.

    One that is none of ours is passed over: its number counts, and nothing else.
    """
    record = workload.record or Record()
    if text is None or read_record(text).number != record.number + 1:
        text = json.dumps({"number": record.number + 1, "images": dict(record.images)}, separators=(",", ":"))
    return _remember(workload, text)


def _remember(workload: Workload, text: str) -> tuple[Operation, ...]:
    return ({"op": "test", "path": "/metadata/uid", "value": workload.uid}, annotate(LAST_TRIGGERED, text))


def run_name(workload: Workload, number: int) -> str:
    """Name the run of that number: the same for everybody who plans it."""
    digest = sha256(f"{workload.uid}/{number}".encode()).hexdigest()[:_NUMBER_DIGITS]
    return f"{workload.key.name[: _LONGEST_NAME - _NUMBER_DIGITS - 1].rstrip('-.')}-{digest}"


def _run(
    workload: Workload, runs: Runs, name: str, text: str, parameters: list[dict[str, str]]
) -> Mapping[str, object]:
    body: dict[str, Any] = {
        "apiVersion": runs.api_version,
        "kind": runs.name,
        "metadata": {"name": name, "namespace": workload.key.namespace, "annotations": {LAST_TRIGGERED: text}},
    }
    _put(body, runs.reference, workload.key.name)
    if parameters:
        _put(body, runs.parameters, parameters)
    return body


def _put(body: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *parents, last = path
    for part in parents:
        body = body.setdefault(part, {})
    body[last] = value
