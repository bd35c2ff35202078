"""Objects written and read over HTTP.

Codes, reasons and wordings were read off kube-apiserver 1.36, request by request.
"""

from __future__ import annotations

from typing import Any

import pytest

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import CONFIG_MAPS, CORE, DEPLOYMENTS, NAMESPACE, Api, Object, config_map, deployment, serving

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def without(obj: Object, *path: str) -> Object:
    """Return a copy of an object that lacks what stands at the path."""
    *way, last = path
    found = dict(obj)
    at = found
    for step in way:
        at[step] = dict(at[step])
        at = at[step]
    del at[last]
    return found


async def test_gives_a_new_object_its_metadata(api: Api) -> None:
    created = await api.create(DEPLOYMENTS, deployment("web"))
    metadata = created["metadata"]
    assert metadata["namespace"] == NAMESPACE
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"].endswith("Z")
    assert len(metadata["uid"]) == 36
    assert (metadata["managedFields"][0]["manager"], metadata["managedFields"][0]["operation"]) == ("tests", "Update")
    assert created["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert created["status"] == {}
    assert (await api.get(f"{DEPLOYMENTS}/web")).body["metadata"]["uid"] == metadata["uid"]


async def test_revisions_grow_over_all_types(api: Api) -> None:
    first = await api.create(CONFIG_MAPS, config_map("one"))
    second = await api.create(f"{CORE}/secrets", {"metadata": {"name": "two"}})
    third = await api.patch(f"{CONFIG_MAPS}/one", {"data": {"key": "other"}})
    revisions = [int(found["metadata"]["resourceVersion"]) for found in (first, second, third.body)]
    assert revisions == sorted(set(revisions))
    assert int((await api.get(CONFIG_MAPS)).revision) >= revisions[-1]


async def test_makes_names_up_where_asked(api: Api) -> None:
    names = {(await api.create(CONFIG_MAPS, {"metadata": {"generateName": "run-"}}))["metadata"]["name"] for _ in "ab"}
    assert len(names) == 2
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


BAD_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
REFUSED_CREATES = {
    "there already": (deployment("web"), 409, "AlreadyExists", 'deployments.apps "web" already exists'),
    "no name": (
        without(deployment("x"), "metadata", "name"),
        422,
        "Invalid",
        'Deployment.apps "" is invalid: metadata.name: Required value: name or generateName is required',
    ),
    "bad name": (
        config_map("A_b"),
        422,
        "Invalid",
        f'ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": {BAD_NAME}',
    ),
    "of another namespace": (
        deployment("x", namespace="other"),
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    "with a version": (
        deployment("x", resourceVersion="7"),
        500,
        None,
        "resourceVersion should not be set on objects to be created",
    ),
    "no selector": (
        without(deployment("x"), "spec", "selector"),
        422,
        "Invalid",
        (
            'Deployment.apps "x" is invalid: [spec.selector: Required value, spec.template.metadata.labels: '
            "Invalid value: "
            '{"app":"x"}: `selector` does not match template `labels`]'
        ),
    ),
    "wrong type": (
        {**deployment("x"), "spec": {"replicas": "many"}},
        400,
        "BadRequest",
        (
            'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go '
            "struct field "
            "DeploymentSpec.spec.replicas of type int32"
        ),
    ),
    "bad finalizer": (
        config_map("x", finalizers=["foo"]),
        422,
        "Invalid",
        (
            'ConfigMap "x" is invalid: metadata.finalizers[0]: Invalid value: "foo": name is neither a standard '
            "finalizer name "
            "nor is it fully qualified"
        ),
    ),
    "owner that is none": (
        config_map("x", ownerReferences=[{"name": "y"}]),
        422,
        "Invalid",
        (
            'ConfigMap "x" is invalid: [metadata.ownerReferences.apiVersion: Invalid value: "": version must not '
            "be empty, "
            'metadata.ownerReferences.kind: Invalid value: "": must not be empty, metadata.ownerReferences.uid: '
            "Invalid value: "
            '"": must not be empty]'
        ),
    ),
}


@pytest.mark.parametrize(("obj", "code", "reason", "message"), REFUSED_CREATES.values(), ids=REFUSED_CREATES)
async def test_refuses_a_new_object_in_the_words_of_the_real_server(
    api: Api, obj: Object, code: int, reason: str | None, message: str
) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    reply = await api("POST", DEPLOYMENTS if obj["kind"] == "Deployment" else CONFIG_MAPS, obj)
    assert (reply.code, reply.body.get("reason"), reply.message) == (code, reason, message)
    assert reply.body["kind"] == "Status"
    assert reply.body["code"] == code


async def test_names_each_wrong_field_among_the_causes(api: Api) -> None:
    reply = await api("POST", DEPLOYMENTS, deployment("x", labels={"a b": "c d"}))
    assert reply.body["details"]["name"] == "x"
    assert reply.body["details"]["group"] == "apps"
    assert reply.body["details"]["kind"] == "Deployment"
    assert [(cause["reason"], cause["field"]) for cause in reply.body["details"]["causes"]] == [
        ("FieldValueInvalid", "metadata.labels"),
        ("FieldValueInvalid", "metadata.labels"),
    ]


UNREADABLE = {
    "cut short": ('{"a":', 'unexpected end of JSON input ({"a":)'),
    "empty": ("", "unexpected end of JSON input (<empty>)"),
}


@pytest.mark.parametrize(("body", "why"), UNREADABLE.values(), ids=UNREADABLE)
async def test_refuses_a_body_that_is_no_object(api: Api, body: str, why: str) -> None:
    reply = await api("POST", DEPLOYMENTS, body)
    prefix = (
        "the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; json "
        "parse error: "
    )
    assert (reply.code, reply.message) == (400, prefix + why)


async def test_refuses_a_type_it_cannot_read(api: Api) -> None:
    reply = await api("POST", CONFIG_MAPS, "{}", content_type="text/plain")
    assert (reply.code, reply.body["reason"]) == (415, "UnsupportedMediaType")


async def test_takes_yaml_and_answers_in_yaml_where_asked(api: Api) -> None:
    manifest = "metadata: {name: y}\ndata: {key: value}\n"
    reply = await api("POST", CONFIG_MAPS, manifest, content_type="application/yaml", Accept="application/yaml")
    assert reply.code == 201
    assert "\n  name: y\n" in reply.body
    assert (await api.get(f"{CONFIG_MAPS}/y")).body["data"] == {"key": "value"}


async def test_answers_406_for_a_form_it_does_not_have(api: Api) -> None:
    assert (await api.get(CONFIG_MAPS, Accept="text/html")).code == 406


async def test_a_missing_object_and_a_missing_namespace_are_told_apart(api: Api) -> None:
    missing = await api.get(f"{DEPLOYMENTS}/web")
    assert (missing.code, missing.message) == (404, 'deployments.apps "web" not found')
    assert missing.body["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    nowhere = await api("POST", DEPLOYMENTS.replace(NAMESPACE, "nowhere"), deployment("web"))
    assert (nowhere.code, nowhere.message) == (404, 'namespaces "nowhere" not found')
    assert nowhere.body["details"] == {"name": "nowhere", "kind": "namespaces"}


FIELD_VALIDATION: dict[str, tuple[str, int, list[str]]] = {
    "left out": ("", 201, ['299 - "unknown field \\"specc\\""']),
    "warn": ("?fieldValidation=Warn", 201, ['299 - "unknown field \\"specc\\""']),
    "ignore": ("?fieldValidation=Ignore", 201, []),
    "strict": ("?fieldValidation=Strict", 400, []),
}


@pytest.mark.parametrize(("query", "code", "warnings"), FIELD_VALIDATION.values(), ids=FIELD_VALIDATION)
async def test_unknown_fields_are_refused_warned_of_or_dropped(
    api: Api, query: str, code: int, warnings: list[str]
) -> None:
    reply = await api("POST", DEPLOYMENTS + query, {**deployment("web"), "specc": {}})
    assert (reply.code, reply.warnings) == (code, warnings)
    if code == 201:
        assert "specc" not in reply.body
    else:
        assert reply.message.endswith('strict decoding error: unknown field "specc"')


async def test_a_dry_run_answers_and_stores_nothing(api: Api) -> None:
    dry = await api("POST", f"{CONFIG_MAPS}?dryRun=All", config_map("dry"))
    assert (dry.code, "resourceVersion" in dry.body["metadata"]) == (201, False)
    assert (await api.get(f"{CONFIG_MAPS}/dry")).code == 404
    await api.create(CONFIG_MAPS, config_map("kept"))
    changed = await api.patch(f"{CONFIG_MAPS}/kept?dryRun=All", {"data": {"key": "new"}})
    assert changed.body["data"] == {"key": "new"}
    assert (await api("DELETE", f"{CONFIG_MAPS}/kept?dryRun=All")).code == 200
    assert (await api.get(f"{CONFIG_MAPS}/kept")).body["data"] == {"key": "value"}


REFUSED_OPTIONS = {
    "dry run": ("?dryRun=Some", 'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: '),
    "field validation": (
        "?fieldValidation=Foo",
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported ',
    ),
}


@pytest.mark.parametrize(("query", "message"), REFUSED_OPTIONS.values(), ids=REFUSED_OPTIONS)
async def test_refuses_options_it_does_not_know(api: Api, query: str, message: str) -> None:
    reply = await api("POST", CONFIG_MAPS + query, config_map("x"))
    assert reply.code == 422
    assert reply.message.startswith(message)


async def test_replaces_an_object_and_keeps_what_is_the_servers(api: Api) -> None:
    created = await api.create(DEPLOYMENTS, deployment("web"))
    reply = await api("PUT", f"{DEPLOYMENTS}/web", deployment("web", image="registry.example.com/web:2"))
    assert reply.code == 200
    for name in ("uid", "creationTimestamp"):
        assert reply.body["metadata"][name] == created["metadata"][name]
    assert reply.body["metadata"]["generation"] == 2
    assert reply.body["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example.com/web:2"


REFUSED_UPDATES: dict[str, tuple[Object, int, str]] = {
    "stale": (
        deployment("web", resourceVersion="1"),
        409,
        f'Operation cannot be fulfilled on deployments.apps "web": {MODIFIED}',
    ),
    "of another name": (
        deployment("other"),
        400,
        "the name of the object (other) does not match the name on the URL (web)",
    ),
    "version that is none": (
        deployment("web", resourceVersion="abc"),
        500,
        'strconv.ParseUint: parsing "abc": invalid syntax',
    ),
    "selector changed": (
        {**deployment("web"), "spec": {**deployment("other")["spec"]}},
        422,
        (
            'Deployment.apps "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: '
            "field is immutable"
        ),
    ),
}


@pytest.mark.parametrize(("obj", "code", "message"), REFUSED_UPDATES.values(), ids=REFUSED_UPDATES)
async def test_refuses_an_update_in_the_words_of_the_real_server(
    api: Api, obj: Object, code: int, message: str
) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    reply = await api("PUT", f"{DEPLOYMENTS}/web", obj)
    assert (reply.code, reply.message) == (code, message)


async def test_a_uid_from_before_a_recreation_is_a_conflict(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    reply = await api("PUT", f"{CONFIG_MAPS}/x", config_map("x", uid="0"))
    assert (reply.code, reply.body["reason"]) == (409, "Conflict")


async def test_some_types_want_the_version_with_every_update(api: Api) -> None:
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    created = await api.create(leases, {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "one"}})
    reply = await api("PUT", f"{leases}/leader", {"metadata": {"name": "leader"}, "spec": {"holderIdentity": "two"}})
    assert (reply.code, reply.message) == (
        422,
        (
            'leases.coordination.k8s.io "leader" is invalid: metadata.resourceVersion: Invalid value: 0: must be '
            "specified for "
            "an update"
        ),
    )
    created["spec"]["holderIdentity"] = "two"
    assert (await api("PUT", f"{leases}/leader", created)).code == 200
    assert (await api("PUT", f"{leases}/leader", created)).code == 409


async def test_writing_the_same_again_changes_nothing(api: Api) -> None:
    created = await api.create(CONFIG_MAPS, config_map("x"))
    again = await api("PUT", f"{CONFIG_MAPS}/x", config_map("x"))
    patched = await api.patch(f"{CONFIG_MAPS}/x", {"data": {"key": "value"}})
    assert again.revision == patched.revision == created["metadata"]["resourceVersion"]
    assert again.body["metadata"]["managedFields"] == created["metadata"]["managedFields"]


GENERATIONS: dict[str, tuple[Any, int]] = {
    "spec": ({"spec": {"replicas": 3}}, 2),
    "labels": ({"metadata": {"labels": {"tier": "front"}}}, 1),
    # A surprise of the real server, which we share: see the table of types.
    "annotations": ({"metadata": {"annotations": {"note": "x"}}}, 2),
    "status": ({"status": {"observedGeneration": 7}}, 1),
}


@pytest.mark.parametrize(("patch", "generation"), GENERATIONS.values(), ids=GENERATIONS)
async def test_the_generation_of_a_deployment_counts(api: Api, patch: Any, generation: int) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    assert (await api.patch(f"{DEPLOYMENTS}/web", patch)).body["metadata"]["generation"] == generation


async def test_status_is_written_through_its_subresource_only() -> None:
    path = DEPLOYMENTS.replace(NAMESPACE, "default")
    async with serving(Cluster(settle_seconds=600)) as api:  # no controller writes a status of its own meanwhile
        await api.create(path, deployment("web", replicas=0))
        main = await api.patch(f"{path}/web", {"status": {"observedGeneration": 7}})
        assert main.body["status"].get("observedGeneration") != 7
        both = {"status": {"collisionCount": 7}, "spec": {"replicas": 9}, "metadata": {"labels": {"a": "b"}}}
        reply = await api.patch(f"{path}/web/status", both)
        assert reply.body["status"]["collisionCount"] == 7
        assert reply.body["spec"]["replicas"] == 0
        assert reply.body["metadata"]["labels"] == {"app": "web"}
        assert (await api.get(f"{path}/web/status")).body["status"]["collisionCount"] == 7


async def test_scales_through_the_scale_subresource(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", replicas=2))
    scale = (await api.get(f"{DEPLOYMENTS}/web/scale")).body
    assert (scale["apiVersion"], scale["kind"], scale["spec"]) == ("autoscaling/v1", "Scale", {"replicas": 2})
    assert scale["status"]["selector"] == "app=web"
    scale["spec"]["replicas"] = 5
    del scale["metadata"]["resourceVersion"]
    assert (await api("PUT", f"{DEPLOYMENTS}/web/scale", scale)).body["spec"] == {"replicas": 5}
    assert (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 0}})).body["spec"] == {}
    assert (await api.get(f"{DEPLOYMENTS}/web")).body["spec"]["replicas"] == 0
    refused = await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": -1}})
    assert refused.message == (
        'Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
    )


async def test_a_stale_scale_is_a_conflict(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    scale = (await api.get(f"{DEPLOYMENTS}/web/scale")).body
    await api.patch(f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}})
    assert (await api("PUT", f"{DEPLOYMENTS}/web/scale", scale)).code == 409


async def test_folds_plain_secrets_into_their_data(api: Api) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"a": "b"}, "data": {"a": "eA==", "c": "ZA=="}}
    created = await api.create(f"{CORE}/secrets", secret)
    assert (created["data"], created["type"], "stringData" in created) == ({"a": "Yg==", "c": "ZA=="}, "Opaque", False)
    patched = await api.patch(f"{CORE}/secrets/s", {"stringData": {"e": "f"}})
    assert patched.body["data"] == {"a": "Yg==", "c": "ZA==", "e": "Zg=="}


async def test_shows_the_same_events_in_both_versions(api: Api) -> None:
    about = {"kind": "Deployment", "name": "web", "namespace": NAMESPACE}
    old = {
        "metadata": {"name": "old"},
        "involvedObject": about,
        "reason": "R",
        "message": "m",
        "type": "Normal",
        "count": 2,
    }
    await api.create(f"{CORE}/events", old)
    newer = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
    shown = (await api.get(f"{newer}/old")).body
    assert (shown["apiVersion"], shown["regarding"], shown["note"]) == ("events.k8s.io/v1", about, "m")
    assert shown["deprecatedCount"] == 2
    event = {
        "metadata": {"name": "new"},
        "regarding": about,
        "note": "n",
        "reason": "R",
        "type": "Warning",
        "action": "a",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/me",
        "reportingInstance": "me-1",
    }
    await api.create(newer, event)
    stored = (await api.get(f"{CORE}/events/new")).body
    assert (stored["involvedObject"], stored["message"]) == (about, "n")
    assert stored["reportingComponent"] == "example.com/me"
    query = "?fieldSelector=regarding.name%3Dweb,reportingController%3Dexample.com/me"
    assert await api.names(newer + query) == ["new"]


METHODS = {
    "PUT on a list": ("PUT", DEPLOYMENTS),
    "POST on an object": ("POST", f"{DEPLOYMENTS}/web"),
    "POST over all namespaces": ("POST", "/apis/apps/v1/deployments"),
    "all namespaces at once deleted": ("DELETE", "/api/v1/namespaces"),
    "a review read": ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
    "HEAD": ("HEAD", DEPLOYMENTS),
}


@pytest.mark.parametrize(("method", "path"), METHODS.values(), ids=METHODS)
async def test_refuses_methods_that_a_path_does_not_have(api: Api, method: str, path: str) -> None:
    assert (await api(method, path, None if method == "HEAD" else deployment("web"))).code == 405


UNSERVED = {
    "type": "/apis/apps/v1/gizmos",
    "version": "/apis/apps/v9/deployments",
    "subresource": f"{DEPLOYMENTS}/web/gizmo",
    "status of a type without": f"{CONFIG_MAPS}/x/status",
    "object without its namespace": "/apis/apps/v1/deployments/web",
}


@pytest.mark.parametrize("path", UNSERVED.values(), ids=UNSERVED)
async def test_answers_what_is_not_served_with_a_status(api: Api, path: str) -> None:
    reply = await api.get(path)
    assert (reply.code, reply.message) == (404, "the server could not find the requested resource")


async def test_answers_an_unknown_group_as_the_end_of_the_real_chain_does(api: Api) -> None:
    reply = await api.get("/apis/nope.example.com/v1/things")
    assert (reply.code, reply.body) == (404, "404 page not found\n")


async def test_refuses_a_body_beyond_the_limit(api: Api) -> None:
    reply = await api("POST", CONFIG_MAPS, config_map("big", {"key": "x" * (3 * 1024 * 1024)}))
    assert (reply.code, reply.body["reason"]) == (413, "RequestEntityTooLarge")


REVIEWS: dict[str, tuple[str, Object, str]] = {
    "access": (
        "authorization.k8s.io/v1/selfsubjectaccessreviews",
        {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
        "allowed",
    ),
    "rules": ("authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": NAMESPACE}}, "resourceRules"),
    "who": ("authentication.k8s.io/v1/selfsubjectreviews", {}, "userInfo"),
}


@pytest.mark.parametrize(("path", "review", "answer"), REVIEWS.values(), ids=REVIEWS)
async def test_answers_reviews_of_the_one_who_asks(api: Api, path: str, review: Object, answer: str) -> None:
    reply = await api("POST", f"/apis/{path}", review)
    assert reply.code == 201
    assert reply.body["status"][answer]


async def test_refuses_a_review_that_asks_nothing(api: Api) -> None:
    reply = await api("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {}})
    assert (reply.code, reply.body["details"]["causes"][0]["field"]) == (422, "spec.resourceAttributes")
