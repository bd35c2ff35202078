"""Owners of fields: what a real kube-apiserver (1.36.2) wrote into managedFields, and answered to applies."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from listener.sandbox.cluster.apply import Conflicts, apply, track
from listener.sandbox.cluster.patches import PatchFailed, json_patch, merge_patch, strategic_merge
from listener.sandbox.cluster.schema import Schema, builtin, default_builtin

Object = dict[str, Any]

NOON = "2026-01-01T12:00:00Z"
LATER = "2026-01-01T12:00:09Z"
LISTS = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "tags": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "gen": {"type": "integer"}},
                    },
                },
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "atom": {"type": "array", "items": {"type": "string"}},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            },
        }
    },
}
SCHEMA = Schema.from_openapi(LISTS)


def thing(**spec: Any) -> Object:
    return {"apiVersion": "half.example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec}


def deployment(*containers: Object, **spec: Any) -> Object:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": list(containers or ({"name": "web", "image": "nginx"},))},
    }
    filled = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": filled}


def bare(**spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": spec}


class Server:
    """Holds one object and writes as an API server does: patch, defaults, owners. Nothing it is given may change."""

    def __init__(self) -> None:
        self.stored: Object | None = None

    def create(self, obj: Object, manager: str, now: str = NOON) -> None:
        self._store(None, default_builtin(obj), manager, now)

    def json(self, manager: str, *ops: Object, now: str = NOON) -> None:
        self._patch(json_patch, list(ops), manager, now)

    def merge(self, manager: str, patch: Object, now: str = NOON) -> None:
        self._patch(merge_patch, patch, manager, now)

    def strategic(self, manager: str, patch: Object, now: str = NOON) -> None:
        self._patch(strategic_merge, patch, manager, now)

    def apply(self, manager: str, applied: Object, *, force: bool = False, now: str = NOON) -> None:
        before = deepcopy(self.stored)
        result = apply(self.stored, applied, manager=manager, force=force, schema=_schema(applied), now=now)
        assert self.stored == before
        self.stored = default_builtin(result)

    def _patch(self, patch: Any, change: Any, manager: str, now: str) -> None:
        assert self.stored is not None
        self._store(self.stored, default_builtin(patch(self.stored, change), old=self.stored), manager, now)

    def _store(self, before: Object | None, after: Object, manager: str, now: str) -> None:
        untouched = deepcopy(before)
        self.stored = track(
            before, after, manager=manager, api_version=after["apiVersion"], now=now, schema=_schema(after)
        )
        assert before == untouched

    def __getitem__(self, manager: str) -> Any:
        """Return the fields of a manager, or `None`."""
        assert self.stored is not None
        entries = self.stored["metadata"].get("managedFields", [])
        return next((entry["fieldsV1"] for entry in entries if entry["manager"] == manager), None)

    @property
    def managers(self) -> list[str]:
        assert self.stored is not None
        return [entry["manager"] for entry in self.stored["metadata"].get("managedFields", [])]

    @property
    def spec(self) -> Any:
        assert self.stored is not None
        return self.stored["spec"]

    @property
    def containers(self) -> Any:
        return self.spec["template"]["spec"]["containers"]


def _schema(obj: Object) -> Schema | None:
    return SCHEMA if obj["kind"] == "Thing" else builtin(obj["apiVersion"], obj["kind"])


def of_containers(**steps: Any) -> Object:
    """The tree of fields down to the containers, by name."""
    items = {f'k:{{"name":"{name}"}}': fields for name, fields in steps.items()}
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": items}}}}


IMAGE = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "nginx@sha256:0"}


# Creates, updates and patches


def test_a_create_owns_every_field_that_is_stored_but_what_go_writes_for_nothing() -> None:
    server = Server()
    server.create(deployment({"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}), "alice")
    assert server["alice"] == {
        "f:spec": {
            "f:progressDeadlineSeconds": {},
            "f:replicas": {},
            "f:revisionHistoryLimit": {},
            "f:selector": {},
            "f:strategy": {
                "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
                "f:type": {},
            },
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"web"}': {
                            ".": {},
                            "f:image": {},
                            "f:imagePullPolicy": {},
                            "f:name": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:containerPort": {},
                                    "f:protocol": {},
                                },
                            },
                            "f:resources": {},
                            "f:terminationMessagePath": {},
                            "f:terminationMessagePolicy": {},
                        }
                    },
                    "f:dnsPolicy": {},
                    "f:restartPolicy": {},
                    "f:schedulerName": {},
                    "f:securityContext": {},
                    "f:terminationGracePeriodSeconds": {},
                },
            },
        }
    }


def test_a_create_owns_the_lists_of_a_custom_resource_by_their_kind() -> None:
    server = Server()
    server.create(
        thing(
            name="abc", tags=[{"name": "b", "gen": 1}], set=["x"], atom=["q"], map={"k": 1}, any={"deep": {"l": [1]}}
        ),
        "alice",
    )
    assert server["alice"] == {
        "f:spec": {
            ".": {},
            "f:any": {".": {}, "f:deep": {".": {}, "f:l": {}}},
            "f:atom": {},
            "f:map": {".": {}, "f:k": {}},
            "f:name": {},
            "f:set": {".": {}, 'v:"x"': {}},
            "f:tags": {".": {}, 'k:{"name":"b"}': {".": {}, "f:gen": {}, "f:name": {}}},
        }
    }


def test_a_patch_takes_what_it_changes_from_who_had_it() -> None:
    server = Server()
    server.create(deployment(), "alice")
    server.json("listener", IMAGE, {"op": "add", "path": "/metadata/annotations", "value": {"k": "v"}}, now=LATER)
    assert server["listener"] == {
        "f:metadata": {"f:annotations": {".": {}, "f:k": {}}},
        **of_containers(web={"f:image": {}}),
    }
    assert "f:image" not in server["alice"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']
    assert server.stored is not None
    (alice, listener) = server.stored["metadata"]["managedFields"]
    assert {name: value for name, value in listener.items() if name != "fieldsV1"} == {
        "manager": "listener",
        "operation": "Update",
        "apiVersion": "apps/v1",
        "time": LATER,
        "fieldsType": "FieldsV1",
    }
    assert alice["time"] == NOON


def test_a_patch_that_changes_nothing_leaves_the_object_as_it_is() -> None:
    server = Server()
    server.create(deployment(), "alice")
    before = server.stored
    server.merge("bob", {"spec": {"replicas": 0}}, now=LATER)
    assert server.stored == before


def test_what_is_removed_is_nobodys() -> None:
    server = Server()
    server.create(deployment({"name": "web", "image": "a"}, {"name": "side", "image": "b"}), "alice")
    server.strategic("carol", {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "c"}]}}}})
    server.strategic(
        "dave", {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}, now=LATER
    )
    assert server.managers == ["alice"]
    assert list(server["alice"]["f:spec"]["f:template"]["f:spec"]["f:containers"]) == ['k:{"name":"web"}']


def test_an_item_that_moves_in_its_list_changes_no_owner() -> None:
    server = Server()
    server.create(thing(tags=[{"name": "a", "gen": 1}, {"name": "b"}]), "alice")
    before = server["alice"]
    server.merge("bob", {"spec": {"tags": [{"name": "b"}, {"name": "a", "gen": 1}]}})
    assert server["alice"] == before
    assert server["bob"] is None


def test_a_subresource_has_its_own_entry_and_keeps_the_others() -> None:
    server = Server()
    server.create(deployment(), "alice")
    assert server.stored is not None
    after = {**server.stored, "status": {"observedGeneration": 1}}
    after["metadata"] = {**after["metadata"], "managedFields": []}
    tracked = track(server.stored, after, manager="alice", subresource="status", api_version="apps/v1", now=LATER)
    entries = tracked["metadata"]["managedFields"]
    assert [(entry["manager"], entry.get("subresource")) for entry in entries] == [("alice", None), ("alice", "status")]
    assert entries[1]["fieldsV1"] == {"f:status": {"f:observedGeneration": {}}}


def test_owners_that_were_dropped_on_purpose_are_not_tracked_any_more() -> None:
    server = Server()
    server.create(deployment(), "alice")
    server.merge("bob", {"metadata": {"managedFields": []}})
    server.merge("bob", {"spec": {"replicas": 3}})
    assert server.managers == []


def test_an_apply_to_an_object_without_owners_gives_what_is_there_to_somebody() -> None:
    server = Server()
    server.stored = default_builtin(deployment())
    with pytest.raises(Conflicts, match=r'conflict with "before-first-apply" using apps/v1: \.spec\.replicas'):
        server.apply("one", bare(replicas=5))
    server.apply("one", bare(replicas=5), force=True)
    assert server.managers == ["one", "before-first-apply"]


def test_the_oldest_of_too_many_updaters_are_one() -> None:
    server = Server()
    server.create(deployment(), "alice", now="2026-01-01T00:00:00Z")
    for hour in range(1, 13):
        label = {"metadata": {"labels": {f"l{hour}": "x"}}}
        server.merge(f"m{hour:02}", label, now=f"2026-01-01T{hour:02}:00:00Z")
    assert server.managers == ["ancient-changes", *(f"m{hour:02}" for hour in range(4, 13))]
    assert server["ancient-changes"]["f:metadata"]["f:labels"].keys() == {".", "f:l1", "f:l2", "f:l3"}


# Server-side apply


def test_an_apply_owns_what_it_says_and_no_defaults() -> None:
    server = Server()
    server.apply("one", deployment({"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}))
    port: Object = {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}
    assert server["one"] == {
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:a": {}}},
                "f:spec": {
                    "f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}, "f:ports": port}}
                },
            },
        }
    }
    assert server.spec["progressDeadlineSeconds"] == 600


def test_two_may_own_a_field_while_they_agree() -> None:
    server = Server()
    server.apply("one", deployment())
    server.apply("two", bare(replicas=0), now=LATER)
    assert server["two"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" in server["one"]["f:spec"]
    with pytest.raises(Conflicts) as conflicts:
        server.apply("three", bare(replicas=1))
    assert str(conflicts.value) == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.replicas\nconflicts with "two":\n- '
        ".spec.replicas"
    )
    assert [(each.message, each.field) for each in conflicts.value.conflicts] == [
        ('conflict with "one"', ".spec.replicas"),
        ('conflict with "two"', ".spec.replicas"),
    ]


def test_one_conflict_with_an_update_names_its_version() -> None:
    server = Server()
    server.create(deployment(), "kubectl-client-side-apply")
    with pytest.raises(Conflicts) as conflicts:
        server.apply("one", bare(replicas=1))
    assert str(conflicts.value) == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    )


def test_conflicts_name_items_by_their_keys() -> None:
    server = Server()
    server.apply("one", deployment())
    server.json("listener", IMAGE)
    with pytest.raises(Conflicts) as conflicts:
        server.apply("one", deployment())
    assert [each.field for each in conflicts.value.conflicts] == ['.spec.template.spec.containers[name="web"].image']


def test_force_takes_the_field() -> None:
    server = Server()
    server.apply("one", deployment())
    server.json("listener", IMAGE)
    server.apply("one", deployment(), force=True, now=LATER)
    assert server.containers[0]["image"] == "nginx"
    assert server.managers == ["one"]


def test_what_is_applied_no_more_is_removed_unless_it_is_anothers_too() -> None:
    server = Server()
    shared = {"name": "side", "image": "b"}
    server.apply(
        "one", deployment({"name": "web", "image": "a"}, shared, {"name": "gone", "image": "c"}, minReadySeconds=5)
    )
    server.apply("two", bare(template={"spec": {"containers": [shared]}}))
    server.apply("one", deployment({"name": "web", "image": "a"}))
    assert [each["name"] for each in server.containers] == ["web", "side"]
    assert "minReadySeconds" not in server.spec


def test_an_item_goes_with_its_owner_though_an_update_changed_a_part_of_it() -> None:
    server = Server()
    server.apply("one", deployment({"name": "web", "image": "a"}, {"name": "side", "image": "b"}))
    server.json("listener", {"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "c"})
    server.apply("one", deployment({"name": "web", "image": "a"}))
    assert [each["name"] for each in server.containers] == ["web"]
    assert server["listener"] is None


def test_the_owner_of_a_default_is_nobody_so_it_stays() -> None:
    server = Server()
    server.apply("one", deployment(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3}}))
    server.apply("one", deployment())
    assert server.spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }


@pytest.mark.parametrize(
    ("live", "applied", "merged"),
    [
        pytest.param("ab", "ba", "ba", id="the configuration orders what it names"),
        pytest.param("ab", "ca", "cab", id="what is new goes before what it stands before"),
        pytest.param("abc", "c", "abc", id="what only lives stays in front"),
        pytest.param("abc", "a", "abc", id="what only lives stays behind"),
        pytest.param("abc", "cxa", "bcxa", id="what only lives stays between"),
        pytest.param("", "ab", "ab", id="into nothing"),
    ],
)
def test_keyed_lists_are_merged_in_order(live: str, applied: str, merged: str) -> None:
    server = Server()
    server.create(thing(tags=[{"name": name} for name in live], set=list(live)), "alice")
    server.apply("one", thing(tags=[{"name": name} for name in applied], set=list(applied)), force=True)
    assert "".join(each["name"] for each in server.spec["tags"]) == merged
    assert "".join(server.spec["set"]) == merged


def test_atomic_lists_and_maps_are_one_field() -> None:
    server = Server()
    server.apply("one", thing(atom=["a", "b"]))
    server.apply("two", thing(atom=["c"]), force=True)
    assert server.spec["atom"] == ["c"]
    assert server["one"] is None
    server = Server()
    server.apply("one", deployment())
    server.apply("two", bare(selector={"matchLabels": {"a": "b"}, "matchExpressions": []}), force=True)
    assert "f:selector" not in server["one"]["f:spec"]


def test_an_apply_that_changes_nothing_keeps_its_time() -> None:
    server = Server()
    server.apply("one", deployment())
    before = server.stored
    server.apply("one", deployment(), now=LATER)
    assert server.stored == before
    server.apply("two", bare(replicas=0), now=LATER)
    assert server.stored is not None
    assert "time" not in server.stored["metadata"]["managedFields"][0]


def test_a_manager_that_applies_nothing_any_more_is_gone() -> None:
    server = Server()
    server.apply("one", deployment())
    server.apply("two", bare(minReadySeconds=5))
    server.apply("two", bare())
    assert server["two"] == {"f:spec": {}}
    server.apply("two", {name: value for name, value in bare().items() if name != "spec"})
    assert server.managers == ["one"]


def test_the_step_from_client_side_to_server_side_apply_is_no_conflict() -> None:
    first = deployment()
    annotation = '{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":0}}'
    first["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": annotation}
    server = Server()
    server.create(first, "kubectl-client-side-apply")
    with pytest.raises(Conflicts):
        server.apply("argocd", bare(replicas=1))
    server.apply("kubectl", bare(replicas=1), now=LATER)
    assert server.spec["replicas"] == 1
    assert server.stored is not None
    assert server.stored["metadata"]["annotations"] == {
        "kubectl.kubernetes.io/last-applied-configuration": (
            '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"annotations":{},"name":"shop"},'
            '"spec":{"replicas":1}}\n'
        )
    }


@pytest.mark.parametrize(
    ("applied", "refusal"),
    [
        pytest.param(
            bare(template={"spec": {"containers": [{"name": "x"}, {"name": "x"}]}}),
            (
                500,
                (
                    "failed to create typed patch object (/shop; apps/v1, Kind=Deployment): "
                    '.spec.template.spec.containers: duplicate entries for key [name="x"]'
                ),
            ),
            id="an item twice",
        ),
        pytest.param(
            bare() | {"metadata": {"name": "shop", "managedFields": []}},
            (400, "metadata.managedFields must be nil"),
            id="owners",
        ),
    ],
)
def test_refuses_a_configuration(applied: Object, refusal: tuple[int, str]) -> None:
    server = Server()
    server.create(deployment(), "alice")
    with pytest.raises(PatchFailed) as failed:
        server.apply("one", applied)
    assert (failed.value.status, failed.value.message) == refusal
