"""From a workload and what its tags point at now to what is to be done for it: each form of kind in its own way."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from listener.core import build_configs, deployment_configs, patches, runs, streams
from listener.core.actions import Plan, View
from listener.core.kinds import Form, Kind
from listener.core.workloads import Workload


def plan(workload: Workload, kind: Kind, view: View, *, now: datetime, leave: Collection[tuple[str, str]] = ()) -> Plan:
    """Plan what brings a workload to what its tags say; the images in `leave`, by container, are left out."""
    found = _plan(workload, kind, view, now, leave)
    if not view.namespaces:
        return found
    followed = dict.fromkeys(trigger.stream for trigger in workload.triggers.valid if not trigger.paused)
    hindrances = [why for stream in followed if (why := streams.hindrance(stream, view.namespaces))]
    return found._replace(problems=(*found.problems, *hindrances)) if hindrances else found


def _plan(workload: Workload, kind: Kind, view: View, now: datetime, leave: Collection[tuple[str, str]]) -> Plan:
    match kind.form:
        case Form.POD_SPEC:
            return patches.plan(workload, kind, view, now=now, leave=leave)
        case Form.DEPLOYMENT_CONFIG:
            return deployment_configs.plan(workload, kind, view, now=now, leave=leave)
        case Form.BUILD_CONFIG:
            return build_configs.plan(workload, kind, view, now=now)
        case Form.RUN:
            return runs.plan(workload, kind, view, now=now)
