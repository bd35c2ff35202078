"""What workloads are called, and what ten thousand of them cost."""

from __future__ import annotations

import json
import tracemalloc
from sys import intern

from listener.core import triggers
from listener.core.index import WorkloadIndex
from listener.core.kinds import KINDS
from listener.core.workloads import Container, Workload, WorkloadKey


def test_keys_are_written_as_people_do() -> None:
    assert str(WorkloadKey("Deployment", "shop", "web")) == "deployment shop/web"


def test_a_workload_and_its_entries_stay_below_two_kibibytes_though_each_follows_its_own_tag() -> None:
    # Python's own table of interned texts doubles now and then, which may fall into one of two measurements.
    assert min(_bytes_each(range(2_000)), _bytes_each(range(2_000, 4_000))) <= 2048


def _bytes_each(numbers: range) -> float:
    tracemalloc.start()
    try:
        workloads = WorkloadIndex()
        for n in numbers:
            workloads.put(_realistic(n))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(workloads) == len(numbers)
    return used / len(numbers)


def _realistic(n: int) -> Workload:
    text = json.dumps(
        [
            {
                "from": {"kind": "ImageStreamTag", "name": f"application-{n}:latest", "namespace": "images"},
                "fieldPath": 'spec.template.spec.containers[?(@.name=="application")].image',
            }
        ]
    )
    return Workload(
        WorkloadKey("Deployment", intern(f"team-{n % 50}"), f"application-{n}"),
        f"01234567-89ab-cdef-0123-{n:012}",
        str(100_000_000 + n),
        triggers.parse(text, namespace=f"team-{n % 50}", kind=KINDS[0]),
        (
            Container(intern("application"), f"registry.example.com/team/application-{n}@sha256:{n:064}"),
            Container(intern("sidecar"), f"registry.example.com/platform/sidecar@sha256:{n:064}"),
        ),
        (),
    )
