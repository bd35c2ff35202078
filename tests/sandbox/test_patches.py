"""The three patches, as a real kube-apiserver (1.36.2) answered them: the rows were tried there."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.sandbox.cluster.patches import PatchFailed, json_patch, merge_patch, strategic_merge

REJECTED = (422, "the server rejected our request due to an error in our request")
UNDECODED = "error decoding patch: json: cannot unmarshal"


def deployment(**pod: Any) -> dict[str, Any]:
    web = {
        "name": "web",
        "image": "nginx:1",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}],
    }
    side = {"name": "side", "image": "busybox"}
    spec = {"replicas": 2, "template": {"spec": {"containers": [web, side], **pod}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "labels": {"l": "1"}},
        "spec": spec,
    }


def pod_spec(obj: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = obj["spec"]["template"]["spec"]
    return found


def of_pod(**pod: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": pod}}}


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


# JSON Patch

IMAGE = "/spec/template/spec/containers/0/image"
SMALL = {"metadata": {"name": "a"}, "a": {"b": [1, 2, 3]}, "c": "d", "n": None}


@pytest.mark.parametrize(
    ("ops", "result"),
    [
        pytest.param([], SMALL, id="nothing"),
        pytest.param([{"op": "test", "path": "/c", "value": "d"}], SMALL, id="a test alone"),
        pytest.param([{"op": "test", "path": "/nope", "value": None}], SMALL, id="nothing tests equal to null"),
        pytest.param([{"op": "replace", "path": "/c", "value": "e"}], {**SMALL, "c": "e"}, id="replace"),
        pytest.param([{"op": "replace", "path": "/x", "value": 1}], {**SMALL, "x": 1}, id="replace what is not there"),
        pytest.param([{"op": "add", "path": "/x"}], {**SMALL, "x": None}, id="add no value"),
        pytest.param([{"op": "add", "path": "/a/b/-", "value": 4}], {**SMALL, "a": {"b": [1, 2, 3, 4]}}, id="append"),
        pytest.param(
            [{"op": "add", "path": "/a/b/3", "value": 4}], {**SMALL, "a": {"b": [1, 2, 3, 4]}}, id="at the end"
        ),
        pytest.param([{"op": "add", "path": "/a/b/0", "value": 0}], {**SMALL, "a": {"b": [0, 1, 2, 3]}}, id="insert"),
        pytest.param([{"op": "remove", "path": "/a/b/-1"}], {**SMALL, "a": {"b": [1, 2]}}, id="count from the end"),
        pytest.param(
            [{"op": "add", "path": "/a/b/-1", "value": 4}], {**SMALL, "a": {"b": [1, 2, 3, 4]}}, id="add before the end"
        ),
        pytest.param(
            [{"op": "move", "from": "/c", "path": "/e"}],
            {"metadata": {"name": "a"}, "a": {"b": [1, 2, 3]}, "e": "d", "n": None},
            id="move",
        ),
        pytest.param([{"op": "copy", "from": "/c", "path": "/e"}], {**SMALL, "e": "d"}, id="copy"),
        pytest.param([{"op": "copy", "from": "/x", "path": "/e"}], {**SMALL, "e": None}, id="copy what is not there"),
        pytest.param([{"op": "add", "path": "/a~1b~0c", "value": 1}], {**SMALL, "a/b~c": 1}, id="escaped names"),
        pytest.param(
            [{"op": "add", "path": "/e", "value": {}}, {"op": "add", "path": "/e/f", "value": 1}],
            {**SMALL, "e": {"f": 1}},
            id="into what the patch brought",
        ),
    ],
)
def test_applies_json_patches(ops: list[dict[str, Any]], result: dict[str, Any]) -> None:
    obj, patch = deepcopy(SMALL), deepcopy(ops)
    assert json_patch(obj, patch) == result
    assert (obj, patch) == (SMALL, ops)


@pytest.mark.parametrize(
    ("ops", "refusal"),
    [
        pytest.param([{"op": "test", "path": "/c", "value": "x"}], REJECTED, id="failed test"),
        pytest.param([{"op": "test", "path": "/a/b/0", "value": True}], REJECTED, id="true is not 1"),
        pytest.param([{"op": "test", "path": "/a/b/0", "value": 1.0}], REJECTED, id="nor is 1.0"),
        pytest.param([{"op": "test", "path": "/x/y", "value": None}], REJECTED, id="test below nothing"),
        pytest.param([{"op": "test", "path": "", "value": {}}], REJECTED, id="test of the whole"),
        pytest.param([{"op": "remove", "path": "/x"}], REJECTED, id="remove nothing"),
        pytest.param([{"op": "remove", "path": ""}], REJECTED, id="remove all"),
        pytest.param([{"op": "add", "path": "", "value": {}}], REJECTED, id="add all"),
        pytest.param([{"op": "add", "path": "/x/y", "value": 1}], REJECTED, id="add below nothing"),
        pytest.param([{"op": "add", "path": "/a/b/4", "value": 1}], REJECTED, id="add past the end"),
        pytest.param([{"op": "replace", "path": "/a/b/3", "value": 1}], REJECTED, id="replace past the end"),
        pytest.param([{"op": "add", "path": "/a/b/x", "value": 1}], REJECTED, id="no index"),
        pytest.param([{"op": "move", "from": "/x", "path": "/y"}], REJECTED, id="move nothing"),
        pytest.param([{"op": "zap", "path": "/c"}], REJECTED, id="unknown operation"),
        pytest.param([{"path": "/c"}], REJECTED, id="no operation"),
        pytest.param([{"op": "add", "value": 1}], REJECTED, id="no path"),
        pytest.param([{"op": "replace", "path": "c", "value": 1}], REJECTED, id="a path without a slash"),
        pytest.param([{"op": "replace", "path": "", "value": 1}], REJECTED, id="no object any more"),
        pytest.param([{"op": "remove", "path": "/a/b/1_0"}], REJECTED, id="an index that only Python reads"),
        pytest.param(
            {"op": "add"}, (400, f"{UNDECODED} object into Go value of type []handlers.jsonPatchOp"), id="no list"
        ),
        pytest.param(
            [5], (400, f"{UNDECODED} number into Go value of type handlers.jsonPatchOp"), id="no operation at all"
        ),
        pytest.param(
            [{}] * 10_001, (413, "The allowed maximum operations in a JSON patch is 10000, got 10001"), id="too many"
        ),
    ],
)
def test_refuses_json_patches(ops: Any, refusal: tuple[int, str]) -> None:
    obj = deepcopy(SMALL)
    with pytest.raises(PatchFailed) as failed:
        json_patch(obj, ops)
    assert (failed.value.status, failed.value.message) == refusal
    assert obj == SMALL


def test_an_image_patch_copies_only_the_way_to_the_image() -> None:
    live = deployment()
    ops = [
        {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "web"},
        {"op": "replace", "path": IMAGE, "value": "nginx:2"},
        {"op": "add", "path": "/metadata/annotations", "value": {"k": "v"}},
    ]
    patched = json_patch(live, ops)
    assert pod_spec(patched)["containers"][0]["image"] == "nginx:2"
    assert live == deployment()
    assert pod_spec(patched)["containers"][1] is pod_spec(live)["containers"][1]
    assert patched["metadata"] is not live["metadata"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~", max_size=2),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text("ab/~", max_size=2), values, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(st.text("ab/~", min_size=1, max_size=2), json_values, max_size=4)


@given(json_objects, json_objects)
def test_agrees_with_another_implementation(before: dict[str, Any], after: dict[str, Any]) -> None:
    ops = jsonpatch.make_patch(before, after).patch
    untouched = deepcopy(before)
    assert json_patch(before, ops) == after
    assert before == untouched


operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "zap"]) | json_values},
    optional={
        name: st.sampled_from(["", "/", "/spec", "/spec/replicas", IMAGE, "/spec/template/spec/containers/-"])
        | json_values
        for name in ("path", "from", "value")
    },
)


@given(st.lists(operations | json_values, max_size=3) | json_values)
def test_any_json_patch_is_applied_or_refused(ops: Any) -> None:
    live = deployment()
    with suppress(PatchFailed):
        assert isinstance(json_patch(live, ops), dict)
    assert live == deployment()


# JSON Merge Patch


@pytest.mark.parametrize(
    ("obj", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ],
)
def test_merges_by_rfc_7386(obj: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]) -> None:
    given_obj, given_patch = deepcopy(obj), deepcopy(patch)
    assert merge_patch(given_obj, given_patch) == result
    assert (given_obj, given_patch) == (obj, patch)


@pytest.mark.parametrize(("patch", "found"), [([1], "array"), ("x", "string"), (None, "null")])
def test_refuses_a_merge_patch_that_is_no_object(patch: Any, found: str) -> None:
    with pytest.raises(PatchFailed, match=f"cannot unmarshal {found} into Go value of type map") as failed:
        merge_patch(SMALL, patch)
    assert failed.value.status == 400


# Strategic merge patch


def test_set_image_changes_one_container() -> None:
    """What `kubectl set image` sends."""
    live = deployment()
    patch = of_pod(
        **{
            "$setElementOrder/containers": [{"name": "web"}, {"name": "side"}],
            "containers": [{"name": "web", "image": "nginx:9"}],
        }
    )
    patched = strategic_merge(live, deepcopy(patch))
    web, side = pod_spec(patched)["containers"]
    assert web == {**pod_spec(live)["containers"][0], "image": "nginx:9"}
    assert side == pod_spec(live)["containers"][1]
    assert live == deployment()


def test_apply_removes_a_container_and_an_env_variable() -> None:
    """What `kubectl apply` sends for a manifest that has lost both, with the order of what is left."""
    patch = of_pod(
        **{
            "$setElementOrder/containers": [{"name": "web"}],
            "containers": [
                {"name": "side", "$patch": "delete"},
                {
                    "name": "web",
                    "$setElementOrder/env": [{"name": "B"}],
                    "env": [{"name": "A", "$patch": "delete"}, {"name": "B", "value": "3"}],
                },
            ],
        }
    )
    (web,) = pod_spec(strategic_merge(deployment(), patch))["containers"]
    assert web["env"] == [{"name": "B", "value": "3"}]


def with_lists() -> dict[str, Any]:
    return deployment(
        tolerations=[{"key": "a"}],
        imagePullSecrets=[{"name": "s1"}, {"name": "s2"}],
        volumes=[{"name": "v", "emptyDir": {}}],
        nodeSelector={"x": "y"},
        hostAliases=[{"ip": "1.1.1.1", "hostnames": ["a"]}],
    )


@pytest.mark.parametrize(
    ("pod", "field", "result"),
    [
        pytest.param(
            {"tolerations": [{"key": "b"}]}, "tolerations", [{"key": "b"}], id="a list without a key is replaced"
        ),
        pytest.param(
            {"imagePullSecrets": [{"name": "s3"}]},
            "imagePullSecrets",
            [{"name": "s3"}, {"name": "s1"}, {"name": "s2"}],
            id="what is new comes first",
        ),
        pytest.param(
            {"imagePullSecrets": [{"name": "s3"}, {"name": "s1"}]},
            "imagePullSecrets",
            [{"name": "s3"}, {"name": "s1"}, {"name": "s2"}],
            id="in the order of the patch",
        ),
        pytest.param(
            {"$setElementOrder/imagePullSecrets": [{"name": "s2"}, {"name": "s1"}]},
            "imagePullSecrets",
            [{"name": "s2"}, {"name": "s1"}],
            id="reordered only",
        ),
        pytest.param(
            {"$setElementOrder/imagePullSecrets": [{"name": "s2"}]},
            "imagePullSecrets",
            [{"name": "s1"}, {"name": "s2"}],
            id="others keep their place",
        ),
        pytest.param(
            {"imagePullSecrets": [{"$patch": "replace"}, {"name": "s9"}]},
            "imagePullSecrets",
            [{"name": "s9"}],
            id="replace a list",
        ),
        pytest.param({"imagePullSecrets": None}, "imagePullSecrets", None, id="null removes a list"),
        pytest.param({"nodeSelector": {"n": "m"}}, "nodeSelector", {"x": "y", "n": "m"}, id="maps are merged"),
        pytest.param({"nodeSelector": {"$patch": "replace", "n": "m"}}, "nodeSelector", {"n": "m"}, id="replace a map"),
        pytest.param({"nodeSelector": {"$patch": "delete"}}, "nodeSelector", {}, id="empty a map"),
        pytest.param(
            {"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]},
            "hostAliases",
            [{"ip": "1.1.1.1", "hostnames": ["b"]}],
            id="by ip, whose names are replaced",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]},
            "volumes",
            [{"name": "v", "configMap": {"name": "c"}}],
            id="one source of a volume gives way to another",
        ),
        pytest.param(
            {"volumes": [{"name": "w", "secret": {"secretName": "s", "items": None}}]},
            "volumes",
            [{"name": "w", "secret": {"secretName": "s"}}, {"name": "v", "emptyDir": {}}],
            id="nothing null in what is new",
        ),
        pytest.param(
            {"securityContext": {"$patch": "delete"}}, "securityContext", None, id="a directive for nothing is nothing"
        ),
        pytest.param(
            {"securityContext": {"$retainKeys": ["runAsUser"], "runAsUser": 1}},
            "securityContext",
            {"runAsUser": 1},
            id="no directive in what is new",
        ),
        pytest.param(
            {"containers": [{"name": "nope", "$patch": "delete"}]},
            "containers",
            pod_spec(deployment())["containers"],
            id="delete what is not there",
        ),
    ],
)
def test_merges_the_lists_of_a_pod(pod: dict[str, Any], field: str, result: Any) -> None:
    live = with_lists()
    patched = strategic_merge(live, of_pod(**deepcopy(pod)))
    assert pod_spec(patched).get(field) == result
    assert live == with_lists()


def test_ports_merge_by_number_alone() -> None:
    """Their other key, the protocol, is for server-side apply only: the first port of the number is taken."""
    patch = of_pod(
        containers=[{"name": "web", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]}]
    )
    assert pod_spec(strategic_merge(deployment(), patch))["containers"][0]["ports"] == [
        {"containerPort": 80, "protocol": "TCP", "name": "http"},
        {"containerPort": 80, "protocol": "UDP"},
        {"containerPort": 81},
    ]


def test_ports_of_a_service_merge_by_another_field() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 80, "name": "a"}]}}
    patched = strategic_merge(service, {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}})
    assert patched["spec"]["ports"] == [{"port": 80, "name": "a", "targetPort": 8080}]


def test_conditions_merge_by_type_and_secrets_by_name() -> None:
    status = {"conditions": [{"type": "Available", "status": "True"}]}
    merged = strategic_merge(
        deployment() | {"status": status}, {"status": {"conditions": [{"type": "Progressing", "status": "True"}]}}
    )
    assert [each["type"] for each in merged["status"]["conditions"]] == ["Progressing", "Available"]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {}, "secrets": [{"name": "a"}]}
    patched = strategic_merge(account, {"secrets": [{"name": "b"}], "imagePullSecrets": [{"name": "p"}]})
    assert names(patched["secrets"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("metadata", "finalizers"),
    [
        ({"finalizers": ["a/c"]}, ["a/c", "a/a", "a/b"]),
        ({"finalizers": ["a/b"]}, ["a/a", "a/b"]),
        ({"$deleteFromPrimitiveList/finalizers": ["a/a"]}, ["a/b"]),
        ({"$setElementOrder/finalizers": ["a/b", "a/a"]}, ["a/b", "a/a"]),
    ],
    ids=["added", "there already", "deleted", "reordered"],
)
def test_finalizers_are_a_set(metadata: dict[str, Any], finalizers: list[str]) -> None:
    live = deployment()
    live["metadata"]["finalizers"] = ["a/a", "a/b"]
    assert strategic_merge(live, {"metadata": metadata})["metadata"]["finalizers"] == finalizers


def test_owners_merge_by_uid() -> None:
    live = deployment()
    live["metadata"]["ownerReferences"] = [{"uid": "1", "name": "a"}]
    patched = strategic_merge(live, {"metadata": {"ownerReferences": [{"uid": "1", "controller": True}]}})
    assert patched["metadata"]["ownerReferences"] == [{"uid": "1", "name": "a", "controller": True}]


def test_a_strategy_that_is_changed_loses_its_settings() -> None:
    live = deployment()
    live["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    patched = strategic_merge(live, {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}})
    assert patched["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("patch", "refusal"),
    [
        pytest.param(
            of_pod(containers=[{"image": "x"}]),
            (500, "map: map[image:x] does not contain declared merge key: name"),
            id="no key",
        ),
        pytest.param(
            of_pod(containers=[{"$patch": "zap", "name": "web"}]),
            (500, "unknown patch type: zap in map: map[$patch:zap name:web]"),
            id="unknown directive for an item",
        ),
        pytest.param(
            {"spec": {"$patch": "merge", "replicas": 3}},
            (500, "unknown patch type: merge in map: map[$patch:merge replicas:3]"),
            id="unknown directive for a map",
        ),
        pytest.param(
            of_pod(containers=[{"$patch": "merge", "name": "web"}]),
            (500, "merging lists cannot yet be specified in the patch"),
            id="merge in a list",
        ),
        pytest.param(
            of_pod(**{"$setElementOrder/containers": [{"name": "zz"}], "containers": [{"name": "web"}]}),
            (500, "The order in patch list:\n[map[name:web]]\n doesn't match $setElementOrder list:\n[map[name:zz]]\n"),
            id="order of others",
        ),
        pytest.param(
            {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": {}}}},
            (400, "invalid patch format of retainKeys"),
            id="key that is not retained",
        ),
        pytest.param(
            [1], (400, "json: cannot unmarshal array into Go value of type map[string]interface {}"), id="no object"
        ),
    ],
)
def test_refuses_strategic_patches(patch: Any, refusal: tuple[int, str]) -> None:
    live = deployment()
    live["spec"]["strategy"] = {"type": "RollingUpdate"}
    with pytest.raises(PatchFailed) as failed:
        strategic_merge(live, patch)
    assert (failed.value.status, failed.value.message) == refusal


fields = st.sampled_from(
    [
        "name",
        "containers",
        "env",
        "finalizers",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
    ]
)
directives = st.recursive(
    st.none() | st.integers(0, 1) | st.sampled_from(["web", "delete", "replace", "merge"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(fields, values, max_size=3),
    max_leaves=10,
)


@given(directives, st.sampled_from([("metadata",), ("spec", "template", "spec"), ()]))
def test_any_strategic_patch_is_applied_or_refused(patch: Any, path: tuple[str, ...]) -> None:
    for step in reversed(path):
        patch = {step: patch}
    live, given_patch = with_lists(), deepcopy(patch)
    with suppress(PatchFailed):
        strategic_merge(live, patch)
    assert (live, patch) == (with_lists(), given_patch)


def test_custom_kinds_have_no_strategic_merge() -> None:
    with pytest.raises(PatchFailed, match="the body of the request was in an unknown format") as failed:
        strategic_merge({"apiVersion": "image.openshift.io/v1", "kind": "ImageStream"}, {})
    assert failed.value.status == 415
