"""Protobuf as kubectl sends it. The bytes were taken from kubectl 1.36.3 with `--v=9`, or built field by field."""

from __future__ import annotations

import pytest

from listener.sandbox.cluster import protobuf
from listener.sandbox.cluster.protobuf import UndecodableError

# kubectl create namespace zz
NAMESPACE = bytes.fromhex(
    "6b3873000a0f0a02763112094e616d657370616365121a0a120a027a7a12001a002200"
    "2a00320038004200 12001a020a00 1a002200".replace(" ", "")
)


def field(number: int, content: bytes | int) -> bytes:
    """Return one field as it goes over the wire; small numbers and short contents only."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def envelope(kind: str, api_version: str, raw: bytes) -> bytes:
    return b"k8s\0" + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_reads_what_kubectl_sends() -> None:
    assert protobuf.decode(NAMESPACE) == {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "zz"}}


CPU = field(1, b"cpu") + field(2, field(1, b"500m"))
DECODED = {
    "map": (
        envelope("ConfigMap", "v1", field(2, field(1, b"a") + field(2, b"b")) + field(2, field(1, b"c"))),
        {"data": {"a": "b", "c": ""}},
    ),
    "map of bytes": (
        envelope("Secret", "v1", field(2, field(1, b"a") + field(2, b"\x00\xff"))),
        {"data": {"a": "AP8="}},
    ),
    "zero that means zero": (envelope("Deployment", "apps/v1", field(2, field(1, 0))), {"spec": {"replicas": 0}}),
    "zero that means nothing": (envelope("Deployment", "apps/v1", field(2, field(5, 0) + field(7, 0))), {}),
    "list": (
        envelope("Role", "rbac.authorization.k8s.io/v1", field(2, field(1, b"get") + field(1, b"list"))),
        {"rules": [{"verbs": ["get", "list"]}]},
    ),
    "number or text, a number": (
        envelope("PodDisruptionBudget", "policy/v1", field(2, field(1, field(1, 0) + field(2, 5)))),
        {"spec": {"minAvailable": 5}},
    ),
    "number or text, a text": (
        envelope("PodDisruptionBudget", "policy/v1", field(2, field(1, field(1, 1) + field(3, b"5%")))),
        {"spec": {"minAvailable": "5%"}},
    ),
    "inlined struct": (
        envelope(
            "Ingress",
            "networking.k8s.io/v1",
            field(2, field(3, field(1, b"h") + field(2, field(1, field(1, field(1, b"/")))))),
        ),
        {"spec": {"rules": [{"host": "h", "http": {"paths": [{"path": "/"}]}}]}},
    ),
    "time": (
        envelope("Namespace", "v1", field(1, field(8, bytes([8, 0x80, 0xA3, 0x05])))),
        {"metadata": {"creationTimestamp": "1970-01-02T00:00:00Z"}},
    ),
    "quantity": (
        envelope("Deployment", "apps/v1", field(2, field(3, field(2, field(2, field(8, field(1, CPU))))))),
        {"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "500m"}}}]}}}},
    ),
}


@pytest.mark.parametrize(("body", "expected"), DECODED.values(), ids=DECODED)
def test_decodes(body: bytes, expected: dict[str, object]) -> None:
    decoded = protobuf.decode(body)
    assert {name: value for name, value in decoded.items() if name not in {"kind", "apiVersion"}} == expected


REFUSED = {
    "no protobuf of Kubernetes": (b"{}", "does not begin"),
    "kind": (envelope("Gizmo", "v1", b""), "Gizmo is understood as JSON or YAML only"),
    "field with something in it": (envelope("Namespace", "v1", field(9, b"x")), "field 9 of Namespace"),
    "cut within a field": (NAMESPACE[:-30], "ends within"),
    "cut within a number": (b"k8s\0\x0a\xff", "ends within"),
    "wire type": (b"k8s\0\x09", "wire type 1"),
}


@pytest.mark.parametrize(("body", "why"), REFUSED.values(), ids=REFUSED)
def test_refuses(body: bytes, why: str) -> None:
    with pytest.raises(UndecodableError, match=why):
        protobuf.decode(body)


def test_passes_over_fields_with_nothing_in_them() -> None:
    hollow = field(3, field(1, b"") + field(2, 0))
    assert protobuf.decode(envelope("Namespace", "v1", hollow)) == {"kind": "Namespace", "apiVersion": "v1"}
