"""Lists: selectors, pages and their expiry, versions, Tables."""

from __future__ import annotations

from typing import Any

import pytest

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import (
    CONFIG_MAPS,
    CORE,
    DEPLOYMENTS,
    GADGETS,
    PARTIAL,
    TABLE,
    Api,
    config_map,
    deployment,
    gadget,
)

PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@pytest.fixture
async def fleet(api: Api) -> Api:
    for name, labels in (("a", {"app": "web", "tier": "front"}), ("b", {"app": "db"}), ("c", {})):
        await api.create(CONFIG_MAPS, config_map(name, labels=labels))
    return api


LABEL_SELECTORS = {
    "equal": ("app%3Dweb", ["a"]),
    "double equal": ("app%3D%3Dweb", ["a"]),
    "not equal": ("app!%3Dweb", ["b", "c"]),
    "in": ("app%20in%20(web,db)", ["a", "b"]),
    "not in": ("app%20notin%20(db)", ["a", "c"]),
    "there": ("app", ["a", "b"]),
    "not there": ("!app", ["c"]),
    "both": ("app%20in%20(web,db),!tier", ["b"]),
    "empty": ("", ["a", "b", "c"]),
}


@pytest.mark.parametrize(("selector", "names"), LABEL_SELECTORS.values(), ids=LABEL_SELECTORS)
async def test_selects_by_label(fleet: Api, selector: str, names: list[str]) -> None:
    assert await fleet.names(f"{CONFIG_MAPS}?labelSelector={selector}") == names


FIELD_SELECTORS = {
    "name": (f"{CONFIG_MAPS}?fieldSelector=metadata.name%3Db", ["b"]),
    "not the name": (f"{CONFIG_MAPS}?fieldSelector=metadata.name!%3Db", ["a", "c"]),
    "namespace": ("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dteam,metadata.name%3Da", ["a"]),
    "type of secret": (f"{CORE}/secrets?fieldSelector=type%3DOpaque", ["opaque"]),
    "phase": ("/api/v1/namespaces?fieldSelector=status.phase%3DActive,metadata.name%3Dteam", ["team"]),
    "involved object": (f"{CORE}/events?fieldSelector=involvedObject.name%3Dweb,involvedObject.kind%3DPod", ["of-web"]),
}


@pytest.mark.parametrize(("path", "names"), FIELD_SELECTORS.values(), ids=FIELD_SELECTORS)
async def test_selects_by_field(fleet: Api, path: str, names: list[str]) -> None:
    await fleet.create(f"{CORE}/secrets", {"metadata": {"name": "opaque"}})
    await fleet.create(f"{CORE}/secrets", {"metadata": {"name": "other"}, "type": "example.com/other"})
    for target in ("web", "db"):
        about = {"kind": "Pod", "name": target, "namespace": "team"}
        await fleet.create(f"{CORE}/events", {"metadata": {"name": f"of-{target}"}, "involvedObject": about})
    assert await fleet.names(path) == names


REFUSED = {
    "field of a built-in type": (
        f"{DEPLOYMENTS}?fieldSelector=spec.replicas%3D1",
        '"spec.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ),
    "field of an event": (f"{CORE}/events?fieldSelector=foo%3D1", "field label not supported: foo"),
    "no field": (f"{DEPLOYMENTS}?fieldSelector=foo", "invalid selector: 'foo'; can't understand 'foo'"),
    "not an operator": (
        f"{DEPLOYMENTS}?labelSelector=a%3D!b",
        "unable to parse requirement: found '!', expected: identifier",
    ),
    "not twice": (f"{DEPLOYMENTS}?labelSelector=!!a", "unable to parse requirement: found '!', expected: identifier"),
    "not nothing": (f"{DEPLOYMENTS}?labelSelector=!", "unable to parse requirement: found '', expected: identifier"),
    "comma at the end": (f"{DEPLOYMENTS}?labelSelector=!a,", "found '', expected: identifier after ','"),
    "two commas": (f"{DEPLOYMENTS}?labelSelector=!a,,b", "found ',', expected: identifier after ','"),
    "comma at the beginning": (
        f"{DEPLOYMENTS}?labelSelector=,!a",
        "found ',', expected: !, identifier, or 'end of string'",
    ),
    "key of no prefix": (
        f"{DEPLOYMENTS}?labelSelector=!/a",
        'unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty',
    ),
    "key too long": (
        f"{DEPLOYMENTS}?labelSelector=!{'a' * 64}",
        f'unable to parse requirement: <nil>: Invalid value: "{"a" * 64}": name part must be no more than 63 bytes',
    ),
    "value too long": (
        f"{DEPLOYMENTS}?labelSelector=a%20in%20({'b' * 64})",
        f'unable to parse requirement: values[0][a]: Invalid value: "{"b" * 64}": must be no more than 63 bytes',
    ),
    "set without an end": (
        f"{DEPLOYMENTS}?labelSelector=a%20in%20(b",
        "unable to parse requirement: found '', expected: ',' or ')'",
    ),
    "two values": (f"{DEPLOYMENTS}?labelSelector=app%3Dfoo%20bar", "found 'bar', expected: ',' or 'end of string'"),
    "operator that is none": (
        f"{DEPLOYMENTS}?labelSelector=a%20b",
        "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
    ),
    "limit": (f"{DEPLOYMENTS}?limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
    "version": (
        f"{DEPLOYMENTS}?resourceVersion=abc",
        (
            'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": '
            "invalid syntax"
        ),
    ),
}


@pytest.mark.parametrize(("path", "message"), REFUSED.values(), ids=REFUSED)
async def test_refuses_what_it_cannot_select_by(api: Api, path: str, message: str) -> None:
    reply = await api.get(path)
    assert (reply.code, reply.message) == (400, message)


REFUSED_TOGETHER = {
    "match without version": (
        "?resourceVersionMatch=Exact",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
    ),
    "match that is none": (
        "?resourceVersion=1&resourceVersionMatch=Foo",
        'resourceVersionMatch: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""',
    ),
}


@pytest.mark.parametrize(("query", "message"), REFUSED_TOGETHER.values(), ids=REFUSED_TOGETHER)
async def test_refuses_options_that_do_not_go_together(api: Api, query: str, message: str) -> None:
    reply = await api.get(DEPLOYMENTS + query)
    assert (reply.code, reply.message) == (422, f'ListOptions.meta.k8s.io "" is invalid: {message}')


async def test_pages_show_every_object_once_in_order(fleet: Api) -> None:
    first = (await fleet.get(f"{CONFIG_MAPS}?limit=2")).body
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 1
    second = (await fleet.get(f"{CONFIG_MAPS}?limit=2&continue={first['metadata']['continue']}")).body
    assert [item["metadata"]["name"] for item in second["items"]] == ["c"]
    assert "continue" not in second["metadata"]


async def test_later_pages_show_the_list_as_it_was_on_the_first(fleet: Api) -> None:
    first = await fleet.get(f"{CONFIG_MAPS}?limit=1")
    await fleet("DELETE", f"{CONFIG_MAPS}/b")
    await fleet.patch(f"{CONFIG_MAPS}/c", {"data": {"key": "new"}})
    await fleet.create(CONFIG_MAPS, config_map("bb"))
    rest = await fleet.get(f"{CONFIG_MAPS}?limit=5&continue={first.body['metadata']['continue']}")
    shown = {item["metadata"]["name"]: item["data"]["key"] for item in rest.body["items"]}
    assert shown == {"b": "value", "c": "value"}
    assert rest.revision == first.revision


async def test_a_page_of_a_forgotten_list_is_410(fleet: Api, sandbox: Cluster) -> None:
    first = await fleet.get(f"{CONFIG_MAPS}?limit=1")
    await fleet.create(CONFIG_MAPS, config_map("d"))
    sandbox.compact()
    reply = await fleet.get(f"{CONFIG_MAPS}?limit=1&continue={first.body['metadata']['continue']}")
    assert (reply.code, reply.body["reason"]) == (410, "Expired")


async def test_counts_nothing_where_a_selector_leaves_it_open(fleet: Api) -> None:
    page = (await fleet.get(f"{CONFIG_MAPS}?limit=1&labelSelector=app")).body
    assert "continue" in page["metadata"]
    assert "remainingItemCount" not in page["metadata"]


async def test_refuses_a_token_it_did_not_give(api: Api) -> None:
    reply = await api.get(f"{CONFIG_MAPS}?limit=1&continue=abc")
    assert reply.code == 400
    assert reply.message.startswith("invalid continue token: continue key is not valid")


async def test_lists_at_a_version(fleet: Api) -> None:
    then = (await fleet.get(CONFIG_MAPS)).revision
    await fleet("DELETE", f"{CONFIG_MAPS}/a")
    exact = f"{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=Exact"
    assert await fleet.names(exact) == ["a", "b", "c"]
    assert await fleet.names(exact.replace("Exact", "NotOlderThan")) == ["b", "c"]
    assert await fleet.names(f"{CONFIG_MAPS}?resourceVersion=0&limit=1") == ["b", "c"]


async def test_a_version_from_the_future_is_a_timeout(api: Api) -> None:
    reply = await api.get(f"{CONFIG_MAPS}?resourceVersion=99999999")
    assert (reply.code, reply.body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
    assert reply.headers["Retry-After"] == "1"


async def test_items_of_built_in_types_leave_their_kind_to_the_list(gadgets: Api) -> None:
    await gadgets.create(CONFIG_MAPS, config_map("a"))
    await gadgets.create(GADGETS, gadget("a"))
    built_in = (await gadgets.get(CONFIG_MAPS)).body
    assert (built_in["kind"], built_in["apiVersion"], "kind" in built_in["items"][0]) == ("ConfigMapList", "v1", False)
    custom = (await gadgets.get(GADGETS)).body
    assert (custom["kind"], custom["items"][0]["kind"]) == ("GadgetList", "Gadget")


async def test_shows_metadata_only_where_asked(fleet: Api) -> None:
    one = (await fleet.get(f"{CONFIG_MAPS}/a", Accept=PARTIAL)).body
    assert (one["kind"], one["apiVersion"], one["metadata"]["name"], "data" in one) == (
        "PartialObjectMetadata",
        "meta.k8s.io/v1",
        "a",
        False,
    )
    found = (await fleet.get(CONFIG_MAPS, Accept=PARTIAL_LIST)).body
    assert (found["kind"], len(found["items"]), "data" in found["items"][0]) == ("PartialObjectMetadataList", 3, False)


def pods(image: str = "x") -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": image}], "restartPolicy": "Never"}}


TABLES: dict[str, tuple[str, dict[str, Any], list[Any]]] = {
    "deployment": (
        "/apis/apps/v1/{}/deployments",
        deployment("x", replicas=0),
        ["x", "0/0", 0, 0, "web,proxy", "registry.example.com/web:1,registry.example.com/proxy:1", "app=x"],
    ),
    "config map": ("/api/v1/{}/configmaps", config_map("x"), ["x", 1]),
    "secret": ("/api/v1/{}/secrets", {"metadata": {"name": "x"}, "stringData": {"a": "b"}}, ["x", "Opaque", 1]),
    "service account": ("/api/v1/{}/serviceaccounts", {"metadata": {"name": "x"}}, ["x"]),
    "service": (
        "/api/v1/{}/services",
        {
            "metadata": {"name": "x"},
            "spec": {"selector": {"a": "b"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80}]},
        },
        ["x", "ClusterIP", "10.96.0.9", "<none>", "80/TCP", "a=b"],
    ),
    "cron job": (
        "/apis/batch/v1/{}/cronjobs",
        {"metadata": {"name": "x"}, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pods()}}}},
        ["x", "0 0 1 1 *", "<none>", "False", 0, "<none>", "c", "x", "<none>"],
    ),
    "lease": (
        "/apis/coordination.k8s.io/v1/{}/leases",
        {"metadata": {"name": "x"}, "spec": {"holderIdentity": "me"}},
        ["x", "me"],
    ),
    "budget": (
        "/apis/policy/v1/{}/poddisruptionbudgets",
        {"metadata": {"name": "x"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
        ["x", "1", "N/A", 0],
    ),
    "network policy": (
        "/apis/networking.k8s.io/v1/{}/networkpolicies",
        {"metadata": {"name": "x"}, "spec": {"podSelector": {"matchLabels": {"a": "b"}}}},
        ["x", "a=b"],
    ),
    "role binding": (
        "/apis/rbac.authorization.k8s.io/v1/{}/rolebindings",
        {
            "metadata": {"name": "x"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"kind": "ServiceAccount", "name": "sa", "namespace": "team"}],
        },
        ["x", "Role/r", "", "", "team/sa"],
    ),
    "ingress": (
        "/apis/networking.k8s.io/v1/{}/ingresses",
        {
            "metadata": {"name": "x"},
            "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}, "tls": [{"hosts": ["h"]}]},
        },
        ["x", "<none>", "*", "", "80, 443"],
    ),
}


@pytest.mark.parametrize(("path", "obj", "cells"), TABLES.values(), ids=TABLES)
async def test_prints_what_the_real_server_prints(api: Api, path: str, obj: dict[str, Any], cells: list[Any]) -> None:
    path = path.format("namespaces/team")
    await api.create(path, obj)
    table = (await api.get(f"{path}/x", Accept=TABLE)).body
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    age = [column["name"] for column in table["columnDefinitions"]].index("Age")
    row = table["rows"][0]
    assert row["cells"].pop(age).endswith("s")
    assert row["cells"] == cells
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert len(table["columnDefinitions"]) == len(cells) + 1


async def test_rows_carry_what_the_client_asked_for(fleet: Api) -> None:
    none = (await fleet.get(f"{CONFIG_MAPS}?includeObject=None", Accept=TABLE)).body
    assert {row["object"] for row in none["rows"]} == {None}
    # `kubectl get --sort-by` sorts by these, and needs to be told what they are.
    whole = (await fleet.get(f"{CONFIG_MAPS}?includeObject=Object", Accept=TABLE)).body
    assert (whole["rows"][0]["object"]["kind"], whole["rows"][0]["object"]["data"]) == ("ConfigMap", {"key": "value"})


async def test_deployments_have_the_columns_of_kubectl(api: Api) -> None:
    columns = (await api.get(DEPLOYMENTS, Accept=TABLE)).body["columnDefinitions"]
    assert [(column["name"], column["priority"]) for column in columns] == [
        ("Name", 0),
        ("Ready", 0),
        ("Up-to-date", 0),
        ("Available", 0),
        ("Age", 0),
        ("Containers", 1),
        ("Images", 1),
        ("Selector", 1),
    ]
