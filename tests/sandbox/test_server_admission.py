"""Mutating webhooks, as clients and the webhooks themselves see them.

`pytest --kubeconfig FILE` runs these on a real server, from which every expectation was taken.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trustme
from aiohttp import web

from listener.sandbox.cluster.selectors import QUALIFIED, VALUE_RULE
from tests.sandbox.api import Object, Reply, config_map, definition, deployment
from tests.sandbox.webhook import (
    CONFIGURATIONS,
    Answering,
    Remote,
    Webhooks,
    answered,
    configuration,
    patch,
    patching,
    put,
    remote,
    rule,
    webhooks,
)

JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


@pytest.fixture
async def server(pytestconfig: pytest.Config) -> AsyncIterator[Remote]:
    async with remote(pytestconfig.getoption("kubeconfig")) as found:
        yield found


@pytest.fixture
async def hooks(server: Remote, ca: trustme.CA) -> AsyncIterator[Webhooks]:
    async with webhooks(server, ca) as found:
        yield found


def internal(why: str) -> str:
    return f"Internal error occurred: {why}"


def called(name: str, why: str) -> str:
    return internal(f'failed calling webhook "{name}.example.com": {why}')


def denied(why: str) -> Answering:
    return lambda _: {"allowed": False, "status": {"message": why}}


# What a webhook is told


def _told(request: Object) -> Object:
    """Leave out what differs from one request and one cluster to the next."""
    kept = {name: value for name, value in request.items() if name not in {"uid", "object", "oldObject", "userInfo"}}
    for name in ("object", "oldObject"):
        obj = request[name]
        if obj is not None:
            owners = [(each["manager"], each["operation"]) for each in obj["metadata"].get("managedFields", [])]
            metadata = {**obj["metadata"], "managedFields": owners}
            obj = {**obj, "metadata": metadata}
        kept[name] = obj
    return kept


async def test_a_creation_is_shown_before_the_server_has_added_its_own(hooks: Webhooks, server: Remote) -> None:
    await hooks.register(hooks.webhook())
    await server.create(f"{server.config_maps}?fieldManager=me", config_map("cm"))
    [request] = hooks.requests
    assert request["userInfo"]["username"]
    assert len(request["uid"]) == 36
    kind, resource = {"group": "", "version": "v1"}, {"group": "", "version": "v1", "resource": "configmaps"}
    assert _told(request) == {
        "kind": {**kind, "kind": "ConfigMap"},
        "resource": resource,
        "requestKind": {**kind, "kind": "ConfigMap"},
        "requestResource": resource,
        "name": "cm",
        "namespace": server.namespace,
        "operation": "CREATE",
        "object": {
            **config_map("cm"),
            "metadata": {"name": "cm", "namespace": server.namespace, "managedFields": [("me", "Update")]},
        },
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"},
    }


async def test_a_creation_is_shown_with_its_defaults(hooks: Webhooks, server: Remote) -> None:
    await hooks.register(hooks.webhook(rules=[rule("deployments", "pods", "secrets")]))
    await server.create(f"{server.deployments}?dryRun=All", deployment("web"))
    spec = hooks.requests[0]["object"]["spec"]
    assert spec["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert hooks.requests[0]["object"]["status"] == {}
    secret = {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    await server.create(f"/api/v1/namespaces/{server.namespace}/secrets?dryRun=All", secret)
    assert hooks.requests[1]["object"]["data"] == {"a": "Yg=="}
    assert "stringData" not in hooks.requests[1]["object"]


async def test_a_pod_has_been_admitted_by_the_server_before(hooks: Webhooks, server: Remote) -> None:
    await server("POST", f"/api/v1/namespaces/{server.namespace}/serviceaccounts", {"metadata": {"name": "default"}})
    await hooks.register(hooks.webhook(rules=[rule("pods")]))
    pod = {"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "ruby:2.7"}]}}
    async with asyncio.timeout(10):  # a real server may still be making the namespace's account
        while (await server("POST", f"/api/v1/namespaces/{server.namespace}/pods?dryRun=All", pod)).code != 201:
            hooks.seen.clear()
            await asyncio.sleep(0.05)
    [request] = hooks.requests
    assert "name" not in request
    assert "name" not in request["object"]["metadata"]
    spec = request["object"]["spec"]
    assert (spec["serviceAccountName"], spec["priority"], len(spec["tolerations"])) == ("default", 0, 2)
    assert request["object"]["status"] == {}
    assert request["options"]["dryRun"] == ["All"]
    assert request["dryRun"] is True


async def _update(server: Remote, at: str, obj: Object) -> Reply:
    return await server("PUT", at, {**obj, "data": {"key": "new"}})


async def _merge(server: Remote, at: str, _obj: Object) -> Reply:
    return await server.patch(at, {"data": {"key": "new"}})


async def _json(server: Remote, at: str, _obj: Object) -> Reply:
    return await server.patch(at, [{"op": "replace", "path": "/data/key", "value": "new"}], JSON_PATCH)


async def _strategic(server: Remote, at: str, _obj: Object) -> Reply:
    return await server.patch(at, {"data": {"key": "new"}}, STRATEGIC_PATCH)


async def _apply(server: Remote, at: str, _obj: Object) -> Reply:
    return await server.patch(f"{at}?fieldManager=me&force=true", config_map("cm", {"key": "new"}), APPLY_PATCH)


@pytest.mark.parametrize("change", [_update, _merge, _json, _strategic, _apply])
async def test_a_change_is_shown_beside_what_is_stored(
    hooks: Webhooks, server: Remote, change: Callable[[Remote, str, Object], Any]
) -> None:
    stored = await server.create(server.config_maps, config_map("cm"))
    hooks.answers["/a"] = patching(put("/data/added", "x"))
    await hooks.register(hooks.webhook())
    reply = await change(server, f"{server.config_maps}/cm", stored)
    assert (reply.code, reply.body["data"]) == (200, {"key": "new", "added": "x"})
    [request] = hooks.requests
    assert (request["operation"], request["name"]) == ("UPDATE", "cm")
    assert request["oldObject"] == {**stored, "kind": "ConfigMap", "apiVersion": "v1"}
    assert request["object"]["data"] == {"key": "new"}
    assert request["object"]["metadata"]["uid"] == stored["metadata"]["uid"]
    assert request["options"]["kind"] == "UpdateOptions"
    assert ("fieldManager" in request["options"]) is (change is _apply)


async def test_an_apply_that_creates_is_a_creation(hooks: Webhooks, server: Remote) -> None:
    hooks.answers["/a"] = patching(put("/data/added", "x"))
    await hooks.register(hooks.webhook())
    reply = await server.patch(f"{server.config_maps}/cm?fieldManager=me", config_map("cm"), APPLY_PATCH)
    assert (reply.code, reply.body["data"]) == (201, {"key": "value", "added": "x"})
    [request] = hooks.requests
    assert (request["operation"], request["oldObject"]) == ("CREATE", None)
    assert request["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}


async def test_a_change_that_changes_nothing_is_asked_about_all_the_same(hooks: Webhooks, server: Remote) -> None:
    await server.create(server.config_maps, config_map("cm"))
    await hooks.register(hooks.webhook())
    assert (await server.patch(f"{server.config_maps}/cm", {"metadata": {}})).code == 200
    assert hooks.paths == ["/a"]


async def observed(server: Remote) -> None:
    """Wait until its controller has seen the Deployment `web`: what changes meanwhile is shown to webhooks twice."""
    async with asyncio.timeout(5):
        found = await server("GET", f"{server.deployments}/web")
        while not found.body["status"].get("observedGeneration"):
            await asyncio.sleep(0.01)
            found = await server("GET", f"{server.deployments}/web")


async def test_a_scale_is_shown_as_such(hooks: Webhooks, server: Remote) -> None:
    await server.create(server.deployments, deployment("web", replicas=0))
    await observed(server)
    hooks.answers["/a"] = patching(put("/spec/replicas", 0))
    await hooks.register(hooks.webhook(rules=[rule("deployments/scale")]))
    reply = await server.patch(f"{server.deployments}/web/scale", {"spec": {"replicas": 3}})
    assert (reply.code, reply.body["spec"]) == (200, {})
    [request] = hooks.requests
    assert request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (request["subResource"], request["requestSubResource"]) == ("scale", "scale")
    assert (request["object"]["spec"], request["oldObject"]["spec"]) == ({"replicas": 3}, {})


async def test_deletions(hooks: Webhooks, server: Remote) -> None:
    for name in ("a", "b"):
        await server.create(server.config_maps, config_map(name))
    await hooks.register(hooks.webhook(rules=[rule("configmaps", operations=("DELETE",))]))
    hooks.answers["/a"] = denied("keep it")
    reply = await server("DELETE", f"{server.config_maps}/a")
    assert (reply.code, reply.message) == (400, 'admission webhook "a.example.com" denied the request: keep it')
    hooks.answers["/a"] = lambda _: {"warnings": ["gone"]}
    reply = await server("DELETE", f"{server.config_maps}/a")
    assert (reply.code, reply.warnings) == (200, ['299 - "gone"'])
    assert (hooks.requests[1]["operation"], hooks.requests[1]["object"]) == ("DELETE", None)
    assert (hooks.requests[1]["name"], hooks.requests[1]["oldObject"]["data"]) == ("a", {"key": "value"})


# What becomes of its answer


async def test_what_a_webhook_makes_of_an_object_is_defaulted_and_validated(hooks: Webhooks, server: Remote) -> None:
    container = "/spec/template/spec/containers"
    hooks.answers["/a"] = patching(put(f"{container}/-", {"name": "c", "image": "c"}), put("/unknown", 1))
    await hooks.register(hooks.webhook(rules=[rule("deployments")]))
    stored = await server.create(server.deployments, deployment("web", replicas=0))
    added = stored["spec"]["template"]["spec"]["containers"][2]
    assert (added["imagePullPolicy"], added["terminationMessagePolicy"]) == ("Always", "File")
    assert "unknown" not in stored
    hooks.answers["/a"] = patching(put(f"{container}/0/name", "a b"))
    reply = await server("POST", server.deployments, deployment("two"))
    assert (reply.code, "spec.template.spec.containers[0].name: Invalid value" in reply.message) == (422, True)


async def test_what_a_webhook_adds_has_no_owner(hooks: Webhooks, server: Remote) -> None:
    hooks.answers["/a"] = patching(put("/data/added", "x"), put("/metadata/annotations", {"a": "b"}))
    await hooks.register(hooks.webhook())
    stored = await server.create(f"{server.config_maps}?fieldManager=me", config_map("cm"))
    [entry] = stored["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:key": {}}}
    changed = await server.patch(f"{server.config_maps}/cm?fieldManager=me", {"data": {"key": "new"}})
    [entry] = changed.body["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:key": {}}}


async def test_a_name_is_made_after_the_webhooks(hooks: Webhooks, server: Remote) -> None:
    hooks.answers["/a"] = patching(put("/metadata/generateName", "other-"))
    await hooks.register(hooks.webhook())
    named = {**config_map("x"), "metadata": {"generateName": "one-"}}
    assert (await server.create(server.config_maps, named))["metadata"]["name"].startswith("other-")


async def test_an_object_stays_where_it_is(hooks: Webhooks, server: Remote) -> None:
    await hooks.register(hooks.webhook())
    hooks.answers["/a"] = patching(put("/metadata/namespace", "default"))
    reply = await server("POST", server.config_maps, config_map("cm"))
    why = "the namespace of the provided object does not match the namespace sent on the request"
    assert (reply.code, reply.message) == (400, why)
    hooks.answers.clear()
    await server.create(server.config_maps, config_map("cm"))
    hooks.answers["/a"] = patching(put("/metadata/name", "other"))
    reply = await server.patch(f"{server.config_maps}/cm", {"data": {"key": "new"}})
    assert reply.code >= 400
    assert (await server("GET", f"{server.config_maps}/other")).code == 404


async def test_users_are_told_the_warnings_whatever_comes_of_it(hooks: Webhooks, server: Remote) -> None:
    await hooks.register(hooks.webhook())
    hooks.answers["/a"] = lambda _: {"warnings": ["one", 'the "second"', "", "two\nlines", "one"]}
    expected = ['299 - "one"', '299 - "the \\"second\\""']
    assert (await server("POST", server.config_maps, config_map("cm"))).warnings == expected
    refused = await server("POST", server.config_maps, config_map("cm"))
    assert (refused.code, refused.warnings) == (409, expected)
    hooks.answers["/a"] = lambda _: {"allowed": False, "warnings": ["w"]}
    assert (await server("POST", server.config_maps, config_map("cm2"))).warnings == ['299 - "w"']
    hooks.answers["/a"] = lambda _: {"warnings": [f"{number} {'x' * 300}" for number in range(20)]}
    many = (await server("POST", server.config_maps, config_map("cm3"))).warnings
    assert (len(many), max(map(len, many))) == (16, 264)


DENIALS: dict[str, tuple[Object, int, str, str]] = {
    "nothing": ({}, 400, " without explanation", ""),
    "message": ({"message": "no way"}, 400, ": no way", ""),
    "reason": ({"reason": "because of"}, 400, ": because of", "because of"),
    "code": ({"message": "no way", "code": 418, "reason": "Teapot"}, 418, ": no way", "Teapot"),
    "code-of-success": ({"message": "no way", "code": 200}, 400, ": no way", ""),
}


@pytest.mark.parametrize(("status", "code", "told", "reason"), DENIALS.values(), ids=DENIALS.keys())
async def test_a_webhook_denies_whatever_the_failure_policy(
    hooks: Webhooks, server: Remote, status: Object, code: int, told: str, reason: str
) -> None:
    hooks.answers["/a"] = lambda _: {"allowed": False, "status": status}
    await hooks.register(hooks.webhook(failurePolicy="Ignore"))
    reply = await server("POST", server.config_maps, config_map("cm"))
    assert (reply.code, reply.message) == (code, f'admission webhook "a.example.com" denied the request{told}')
    assert reply.body.get("reason", "") == reason
    assert (await server("GET", f"{server.config_maps}/cm")).code == 404


# What goes wrong with it


def _review(**changes: Any) -> Answering:
    def answer(request: Object) -> web.Response:
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        return web.json_response({**answered(review, {}), **changes})

    return answer


def _http(status: int, text: str = "oh no") -> Answering:
    return lambda _: web.Response(status=status, text=text)


def _status(**fields: Any) -> Answering:
    return lambda _: web.json_response({"kind": "Status", "status": "Failure", **fields}, status=500)


def told_by_code_alone(code: int) -> str:
    return f"the server responded with the status code {code} but did not return more information"


NOT_A_REVIEW = (
    "failed to call webhook: couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of "
    'type struct {{ APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }}'
)
INVALID = "received invalid webhook response:"
FAILURES: dict[str, tuple[Answering, str]] = {
    "400": (_http(400), "failed to call webhook: the server rejected our request for an unknown reason"),
    "404": (_http(404), "failed to call webhook: the server could not find the requested resource"),
    "500": (
        _http(500),
        'failed to call webhook: an error on the server ("oh no") has prevented the request from succeeding',
    ),
    "503": (_http(503), "failed to call webhook: the server is currently unable to handle the request"),
    "403": (_http(403), "failed to call webhook: oh no"),
    "406": (_http(406), "failed to call webhook: oh no"),
    "406-without-words": (
        _http(406, ""),
        "failed to call webhook: the server was unable to respond with a content type that the client supports",
    ),
    "418": (_http(418), f"failed to call webhook: {told_by_code_alone(418)}"),
    "302": (_http(302), f"failed to call webhook: {told_by_code_alone(302)}"),
    "207": (_http(207), f"failed to call webhook: {told_by_code_alone(207)}"),
    "500-with-quotes": (
        _http(500, ' oh\n"no" '),
        'failed to call webhook: an error on the server ("oh\\n\\"no\\"") has prevented the request from succeeding',
    ),
    "500-without-text": (
        lambda _: web.json_response({"error": "oh no"}, status=500),
        'failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding',
    ),
    "status": (_status(message="because"), "failed to call webhook: because"),
    "status-without-message": (_status(reason="Teapot", code=418), "failed to call webhook: "),
    "status-of-no-failure": (
        _status(status="Success", message="because"),
        'failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding',
    ),
    "status-of-another-shape": (
        _status(code="418", message="because"),
        'failed to call webhook: an error on the server ("unknown") has prevented the request from succeeding',
    ),
    "text": (_http(200, "nope"), NOT_A_REVIEW.format("string")),
    "array": (_http(200, "[]"), NOT_A_REVIEW.format("array")),
    "no-answer": (
        _http(200, ""),
        "failed to call webhook: 0-length response with status code: 200 and content type: text/plain; charset=utf-8",
    ),
    "empty-object": (_http(200, "{}"), f"{INVALID} webhook response was absent"),
    "no-response": (_review(response=None), f"{INVALID} webhook response was absent"),
    "other-version": (
        _review(apiVersion="admission.k8s.io/v1beta1"),
        "failed to call webhook: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
    ),
    "no-kind": (
        _review(kind=""),
        (
            f"{INVALID} expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, "
            "got admission.k8s.io/v1, Kind="
        ),
    ),
    "no-uid": (lambda _: {"uid": ""}, ', got ""'),
    "other-uid": (lambda _: {"uid": "other"}, ', got "other"'),
    "allowed-in-words": (
        lambda _: {"allowed": "yes"},
        (
            "failed to call webhook: json: cannot unmarshal string into Go struct field "
            "AdmissionResponse.response.allowed of type bool"
        ),
    ),
    "patch-without-type": (
        lambda _: {**patch(put("/data/x", "y")), "patchType": None},
        f"{INVALID} webhook returned response.patch but not response.patchType",
    ),
    "type-without-patch": (
        lambda _: {"patchType": "JSONPatch"},
        f"{INVALID} webhook returned response.patchType but not response.patch",
    ),
    "other-type": (lambda _: {**patch(put("/data/x", "y")), "patchType": "Merge"}, 'unsupported patch type "Merge"'),
    "no-base64": (
        lambda _: {"patchType": "JSONPatch", "patch": "%%%"},
        "failed to call webhook: illegal base64 data at input byte 0",
    ),
    "no-list": (
        lambda _: {"patchType": "JSONPatch", "patch": "e30="},
        (
            "received undecodable patch in webhook response: json: cannot unmarshal object into Go value of type "
            "jsonpatch.Patch"
        ),
    ),
}


async def test_the_failure_policy_decides_about_answers_that_are_none(hooks: Webhooks, server: Remote) -> None:
    labels = {name: {"matchLabels": {"case": name}} for name in ("fail", "ignore")}
    await hooks.register(
        hooks.webhook("fail", objectSelector=labels["fail"]),
        hooks.webhook("ignore", objectSelector=labels["ignore"], failurePolicy="Ignore"),
    )
    found, expected = {}, {}
    for name, (answer, why) in FAILURES.items():
        hooks.answers = {"/fail": answer, "/ignore": answer}
        reply = await server("POST", server.config_maps, config_map("cm", labels={"case": "fail"}))
        told = reply.message[-len(why) :] if name.endswith("uid") else reply.message
        ignored = await server("POST", f"{server.config_maps}?dryRun=All", config_map("cm", labels={"case": "ignore"}))
        found[name] = reply.code, told, ignored.code
        expected[name] = 500, why if name.endswith("uid") else called("fail", why), 201
    assert found == expected


PATCHES: dict[str, tuple[Object, str]] = {
    "add": (
        put("/data/nosuch/x", "y"),
        'add operation does not apply: doc is missing path: "/data/nosuch/x": missing value',
    ),
    "replace": (
        {"op": "replace", "path": "/data/nosuch/x", "value": "y"},
        "replace operation does not apply: doc is missing path: /data/nosuch/x: missing value",
    ),
    "remove": (
        {"op": "remove", "path": "/data/nosuch"},
        "error in remove for path: '/data/nosuch': Unable to remove nonexistent key: nosuch: missing value",
    ),
    "remove-below-nothing": (
        {"op": "remove", "path": "/metadata/finalizers/3"},
        'remove operation does not apply: doc is missing path: "/metadata/finalizers/3": missing value',
    ),
    "test": ({"op": "test", "path": "/data/key", "value": "z"}, "testing value /data/key failed: test failed"),
    "unknown": ({"op": "frob", "path": "/data/key", "value": "z"}, "Unexpected kind: frob"),
    "type": (
        put("/data/x", 7),
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
    ),
}


async def test_a_patch_that_does_not_apply_is_an_error_even_where_failures_are_ignored(
    hooks: Webhooks, server: Remote
) -> None:
    await hooks.register(hooks.webhook(failurePolicy="Ignore"))
    found = {}
    for name, (operation, _) in PATCHES.items():
        hooks.answers["/a"] = patching(operation)
        reply = await server("POST", server.config_maps, config_map("cm"))
        found[name] = reply.code, reply.message
    assert found == {name: (500, internal(why)) for name, (_, why) in PATCHES.items()}


def _free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


async def test_the_failure_policy_decides_about_webhooks_that_cannot_be_reached(
    hooks: Webhooks, server: Remote
) -> None:
    port = _free_port()
    refused, plain = f"https://127.0.0.1:{port}/x", await asyncio.start_server(_speak_http, "127.0.0.1", 0)
    spoken = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/x"
    bundle, service = {"caBundle": hooks.bundle}, {"namespace": server.namespace, "name": "nosuch", "path": "/x"}
    clients: dict[str, tuple[Object, str, str]] = {
        "refused": ({"url": refused, **bundle}, refused, f"dial tcp 127.0.0.1:{port}: connect: connection refused"),
        "stranger": (
            {"url": f"{hooks.url}/x"},
            f"{hooks.url}/x",
            "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        ),
        "plain": ({"url": spoken, **bundle}, spoken, "http: server gave HTTP response to HTTPS client"),
        "service": (
            {"service": service, **bundle},
            f"https://nosuch.{server.namespace}.svc:443/x",
            'service "nosuch" not found',
        ),
    }
    selected = [
        hooks.webhook(
            f"{name}-{policy}".lower(),
            clientConfig=client,
            failurePolicy=policy,
            objectSelector={"matchLabels": {"case": f"{name}-{policy}".lower()}},
        )
        for name, (client, _, _) in clients.items()
        for policy in ("Fail", "Ignore")
    ]
    await hooks.register(*selected)
    found, expected = {}, {}
    for name, (_, url, why) in clients.items():
        reply = await server("POST", server.config_maps, config_map("cm", labels={"case": f"{name}-fail"}))
        ignored = config_map("cm", labels={"case": f"{name}-ignore"})
        code = (await server("POST", f"{server.config_maps}?dryRun=All", ignored)).code
        found[name] = reply.code, reply.message, code
        post = f'failed to call webhook: Post "{url}?timeout=5s": {why}'
        expected[name] = 500, called(f"{name}-fail", post), 201
    plain.close()
    await plain.wait_closed()
    assert found == expected


async def _speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
    writer.close()


async def test_a_bundle_that_is_none_is_found_out_at_the_call(hooks: Webhooks, server: Remote) -> None:
    await hooks.register(hooks.webhook(clientConfig={"url": hooks.url, "caBundle": "bm90IGE="}))
    reply = await server("POST", server.config_maps, config_map("cm"))
    why = "could not get REST client: unable to load root certificates: unable to parse bytes as PEM block"
    assert (reply.code, reply.message) == (500, called("a", why))


async def test_a_webhook_has_its_timeout(hooks: Webhooks, server: Remote) -> None:
    never = asyncio.Event()

    async def hang(_: Object) -> Object:
        await never.wait()
        return {}

    hooks.answers["/a"] = hang
    await hooks.register(hooks.webhook(timeoutSeconds=1))
    reply = await server("POST", server.config_maps, config_map("cm"))
    why = f'failed to call webhook: Post "{hooks.url}/a?timeout=1s": context deadline exceeded'
    assert (reply.code, reply.message) == (500, called("a", why))
    never.set()


# Which webhooks are asked


async def test_rules_name_operations_resources_and_subresources(hooks: Webhooks, server: Remote) -> None:
    rules = {
        "create": rule("deployments", operations=("CREATE",)),
        "update": rule("deployments", operations=("UPDATE",)),
        "any": rule("*", operations=("*",)),
        "parts": rule("deployments/*"),
        "status": rule("deployments/status"),
        "every-scale": rule("*/scale"),
        "group": rule("deployments", apiGroups=["batch"]),
        "version": rule("deployments", apiVersions=["v1beta1"]),
        "cluster": rule("deployments", scope="Cluster"),
        "namespaced": rule("deployments", scope="Namespaced"),
    }
    await hooks.register(*(hooks.webhook(name, rules=[each]) for name, each in rules.items()))

    async def asked(method: str, path: str, body: Object) -> list[str]:
        hooks.seen.clear()
        reply = await server(
            method, path, body, "application/merge-patch+json" if method == "PATCH" else "application/json"
        )
        assert reply.code < 300, reply
        # On a real cluster its controllers write too, and a patch that they come between is asked about anew.
        return [path.removeprefix("/") for path in dict.fromkeys(hooks.paths)]

    web_ = f"{server.deployments}/web"
    assert await asked("POST", server.deployments, deployment("web", replicas=0)) == [
        "create",
        "any",
        "parts",
        "namespaced",
    ]
    assert await asked("PATCH", web_, {"metadata": {"labels": {"a": "b"}}}) == ["update", "any", "parts", "namespaced"]
    assert await asked("PATCH", f"{web_}/status", {"status": {"replicas": 0}}) == ["parts", "status"]
    assert await asked("PATCH", f"{web_}/scale", {"spec": {"replicas": 0}}) == ["parts", "every-scale"]


async def test_selectors_choose_by_namespace_and_by_either_object(hooks: Webhooks, server: Remote) -> None:
    own = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [server.namespace]}
    labelled = {"matchExpressions": [{"key": "pick", "operator": "Exists"}]}
    await hooks.register(
        hooks.webhook("elsewhere", namespaceSelector={"matchExpressions": [own]}, failurePolicy="Ignore"),
        hooks.webhook("labelled", objectSelector=labelled),
        hooks.webhook("both"),
    )
    await server.create(server.config_maps, config_map("cm", labels={"pick": "me"}))
    for change in ({"metadata": {"labels": None}}, {"data": {"key": "new"}}):
        await server.caught_up(f"{server.config_maps}/cm")
        await server.patch(f"{server.config_maps}/cm", change)
    assert hooks.paths == ["/labelled", "/both", "/labelled", "/both", "/both"]


async def test_match_conditions_decide_last(hooks: Webhooks, server: Remote) -> None:
    expressions = {
        "true": "object.data.key == 'value' && oldObject == null",
        "false": "has(object.metadata.ownerReferences)",
        "optional": "object.metadata.?annotations.?skip.orValue('no') == 'no'",
        "user": "request.userInfo.username != 'nobody' && request.operation in ['CREATE']",
    }
    conditions = {name: [{"name": "c", "expression": text}] for name, text in expressions.items()}
    conditions["error-but-false"] = [
        {"name": "error", "expression": "object.nosuch == 1"},
        {"name": "false", "expression": "false"},
    ]
    await hooks.register(*(hooks.webhook(name, matchConditions=each) for name, each in conditions.items()))
    await server.create(server.config_maps, config_map("cm"))
    assert hooks.paths == ["/true", "/optional", "/user"]


async def test_the_failure_policy_decides_about_conditions_without_a_value(hooks: Webhooks, server: Remote) -> None:
    condition = [{"name": "c", "expression": "object.nosuch == 1"}]
    await hooks.register(hooks.webhook(matchConditions=condition, failurePolicy="Ignore"))
    await server.create(server.config_maps, config_map("cm"))
    assert hooks.paths == []
    await hooks.register(hooks.webhook("fails", matchConditions=condition))
    reply = await server("POST", server.config_maps, config_map("cm"))
    why = "expression 'object.nosuch == 1' resulted in error: no such key: nosuch"
    assert (reply.code, reply.message) == (403, f'configmaps "cm" is forbidden: {why}')


async def test_webhooks_are_asked_by_name_and_again_where_one_wants_it(hooks: Webhooks, server: Remote) -> None:
    run = secrets.token_hex(3)
    await hooks.register(hooks.webhook("third"), hooks.webhook("fourth"), name=f"tests-{run}-b")
    await hooks.register(
        hooks.webhook("first", reinvocationPolicy="IfNeeded"), hooks.webhook("second"), name=f"tests-{run}-a"
    )
    await server.create(f"{server.config_maps}?dryRun=All", config_map("cm"))
    assert hooks.paths == ["/first", "/second", "/third", "/fourth"]
    hooks.seen.clear()
    hooks.answers["/third"] = patching(put("/data/third", "x"))
    stored = await server.create(server.config_maps, config_map("cm"))
    assert hooks.paths == ["/first", "/second", "/third", "/fourth", "/first"]
    assert hooks.requests[-1]["object"]["data"] == {"key": "value", "third": "x"}
    assert stored["data"] == {"key": "value", "third": "x"}


async def test_a_patch_that_changes_nothing_asks_again_where_it_cuts_the_time_of_the_write(
    hooks: Webhooks, server: Remote
) -> None:
    """The write's own entry in managedFields has a time to the nanosecond until a patch is decoded: to the second."""
    await hooks.register(hooks.webhook(reinvocationPolicy="IfNeeded"), hooks.webhook("b"))
    nothing = patching({"op": "test", "path": "/kind", "value": "ConfigMap"})
    at = f"{server.config_maps}/cm"

    async def asked(method: str, path: str, body: Any, kind: str = "application/json", **answers: Answering) -> int:
        """Return how many were asked: two, or the first of them once more."""
        await server.caught_up(at)
        hooks.answers = {f"/{name}": answer for name, answer in answers.items()}
        hooks.seen.clear()
        assert (await server(method, path, body, kind)).code < 300
        assert hooks.paths in (["/a", "/b"], ["/a", "/b", "/a"])
        return len(hooks.paths)

    merge = "application/merge-patch+json"
    labelled = {"metadata": {"labels": {"a": "b"}}}
    assert await asked("POST", f"{server.config_maps}?dryRun=All", config_map("cm"), b=nothing) == 3
    assert await asked("POST", f"{server.config_maps}?dryRun=All", config_map("cm"), a=nothing, b=nothing) == 2
    assert await asked("POST", f"{server.config_maps}?dryRun=All", config_map("cm"), b=patching()) == 2
    assert await asked("POST", f"{server.config_maps}?dryRun=All", {"metadata": {"name": "bare"}}, b=nothing) == 2
    assert await asked("POST", server.config_maps, config_map("cm"), b=nothing) == 3
    assert await asked("PATCH", at, labelled, merge, b=nothing) == 3
    assert await asked("PATCH", at, labelled, merge, b=nothing) == 2
    assert await asked("PATCH", at, {"metadata": {"labels": None}}, merge, b=nothing) == 2
    assert await asked("PUT", at, config_map("cm"), b=nothing) == 2
    assert await asked("PATCH", f"{at}?fieldManager=me", config_map("cm", {"new": "x"}), APPLY_PATCH, b=nothing) == 3
    assert await asked("PATCH", f"{at}?fieldManager=me", config_map("cm", {"new": "x"}), APPLY_PATCH, b=nothing) == 2


async def test_no_webhook_is_asked_about_webhooks(hooks: Webhooks, server: Remote) -> None:
    everything = [rule("*/*", apiGroups=["admissionregistration.k8s.io"], operations=("*",))]
    path = await hooks.register(hooks.webhook(rules=everything))
    assert (await server.patch(path, {"metadata": {"labels": {"a": "b"}}})).code == 200
    assert hooks.paths == []


async def test_an_equivalent_version_is_asked_for_by_its_own_name(hooks: Webhooks, server: Remote) -> None:
    plural = f"gadgets{secrets.token_hex(3)}"
    crd = definition()
    crd["metadata"]["name"] = f"{plural}.example.com"
    crd["spec"]["names"] = {"kind": plural.title(), "plural": plural}
    crd["spec"]["versions"].append({**crd["spec"]["versions"][0], "name": "v2", "storage": False})
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await server.create(definitions, crd)
    try:
        hooks.answers["/equivalent"] = patching(put("/spec/color", "red"))
        old = [rule(plural, apiVersions=["v1"])]
        await hooks.register(
            hooks.webhook("equivalent", rules=old), hooks.webhook("exact", rules=old, matchPolicy="Exact")
        )
        path = f"/apis/example.com/v2/namespaces/{server.namespace}/{plural}"
        obj = {"apiVersion": "example.com/v2", "kind": plural.title(), "metadata": {"name": "g"}, "spec": {"size": 1}}
        async with asyncio.timeout(10):
            reply = await server("POST", path, obj)
            while reply.code == 404:  # until the new type is served
                await asyncio.sleep(0.05)
                reply = await server("POST", path, obj)
        assert (reply.code, reply.body["apiVersion"], reply.body["spec"]["color"]) == (201, "example.com/v2", "red")
        [request] = hooks.requests
        assert hooks.paths == ["/equivalent"]
        assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
        assert (request["resource"]["version"], request["requestResource"]["version"]) == ("v1", "v2")
        assert request["object"]["apiVersion"] == "example.com/v1"
    finally:
        await server("DELETE", f"{definitions}/{plural}.example.com")


async def test_a_webhook_may_speak_the_older_version(hooks: Webhooks, server: Remote) -> None:
    await hooks.register(hooks.webhook(admissionReviewVersions=["v9", "v1beta1", "v1"]))
    await server.create(server.config_maps, config_map("cm"))
    assert hooks.seen[0][1]["apiVersion"] == "admission.k8s.io/v1beta1"


# What happens meanwhile

OURS = [{"name": "ours", "expression": "has(object.data.ours)"}]


def _interfering(server: Remote, change: Object, times: int = 1) -> Answering:
    """Change the object while the webhook is asked about a change of it."""
    left = [times]

    async def answer(request: Object) -> Object:
        if left[0]:
            left[0] -= 1
            reply = await server.patch(f"{server.config_maps}/{request['name']}", change)
            assert reply.code == 200, reply
        return patch(put("/data/hook", request["oldObject"]["metadata"]["resourceVersion"]))

    return answer


async def test_a_patch_is_computed_anew_when_the_object_has_changed(hooks: Webhooks, server: Remote) -> None:
    await server.create(server.config_maps, config_map("cm"))
    hooks.answers["/a"] = _interfering(server, {"data": {"theirs": "x"}})
    await hooks.register(hooks.webhook(matchConditions=OURS))
    reply = await server.patch(f"{server.config_maps}/cm", {"data": {"ours": "x"}})
    assert reply.code == 200
    assert (reply.body["data"]["ours"], reply.body["data"]["theirs"]) == ("x", "x")
    assert [("theirs" in each["oldObject"]["data"]) for each in hooks.requests] == [False, True]
    assert reply.body["data"]["hook"] == hooks.requests[1]["oldObject"]["metadata"]["resourceVersion"]


async def test_an_update_of_what_has_changed_is_a_conflict(hooks: Webhooks, server: Remote) -> None:
    stored = await server.create(server.config_maps, config_map("cm"))
    hooks.answers["/a"] = _interfering(server, {"data": {"theirs": "x"}})
    await hooks.register(hooks.webhook(matchConditions=OURS))
    reply = await server("PUT", f"{server.config_maps}/cm", {**stored, "data": {"ours": "x"}})
    assert (reply.code, "the object has been modified" in reply.message) == (409, True)
    assert (await server("GET", f"{server.config_maps}/cm")).body["data"] == {"key": "value", "theirs": "x"}


async def test_who_creates_first_wins(hooks: Webhooks, server: Remote) -> None:
    async def answer(_: Object) -> Object:
        await server.create(server.config_maps, config_map("cm", {"first": "x"}))
        return {}

    hooks.answers["/a"] = answer
    await hooks.register(hooks.webhook(matchConditions=OURS))
    reply = await server("POST", server.config_maps, config_map("cm", {"ours": "x"}))
    assert (reply.code, reply.body["reason"]) == (409, "AlreadyExists")
    applied = config_map("late", {"ours": "x"})

    async def race(_: Object) -> Object:
        hooks.answers.clear()
        await server.create(server.config_maps, config_map("late", {"first": "x"}))
        return {}

    hooks.answers["/a"] = race
    reply = await server.patch(f"{server.config_maps}/late?fieldManager=me", applied, APPLY_PATCH)
    assert (reply.code, reply.body["data"]) == (200, {"first": "x", "ours": "x"})


async def test_a_configuration_that_goes_is_asked_no_more(hooks: Webhooks, server: Remote) -> None:
    path = await hooks.register(hooks.webhook())
    await server("DELETE", path)
    await hooks.settled()
    await server.create(server.config_maps, config_map("cm"))
    assert hooks.paths == []


async def test_a_patched_bundle_is_used_from_then_on(hooks: Webhooks, server: Remote) -> None:
    path = await hooks.register(hooks.webhook(clientConfig={"url": f"{hooks.url}/a"}, failurePolicy="Ignore"))
    await server.create(f"{server.config_maps}?dryRun=All", config_map("cm"))
    assert hooks.paths == []
    bundle = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": hooks.bundle}]
    assert (await server.patch(path, bundle, JSON_PATCH)).code == 200
    await hooks.settled()
    await server.create(f"{server.config_maps}?dryRun=All", config_map("cm"))
    assert hooks.paths == ["/a"]


@pytest.mark.sandbox_only(reason="a real cluster has a service network, and this one has none")
async def test_a_service_is_reached_where_the_sandbox_is_told(ca: trustme.CA) -> None:
    services: dict[str, str] = {}
    async with remote(None, services=services) as server, webhooks(server, ca) as hooks:
        services |= dict.fromkeys(("ops/lookup", "ops/other"), f"127.0.0.1:{hooks.port}")
        at = {"namespace": "ops", "path": "/a"}
        clients = [{"service": {**at, "name": each}, "caBundle": hooks.bundle} for each in ("lookup", "other")]
        await hooks.register(hooks.webhook("known", clientConfig=clients[0]))
        assert (await server("POST", server.config_maps, config_map("cm"))).code == 201
        assert hooks.paths == ["/a"]
        await hooks.register(hooks.webhook("stranger", clientConfig=clients[1]))
        reply = await server("POST", server.config_maps, config_map("cm2"))
        assert reply.message.endswith("x509: certificate is not valid for other.ops.svc")


# The configurations themselves


async def test_a_configuration_has_the_defaults_of_a_real_server(hooks: Webhooks, server: Remote) -> None:
    bare = {name: hooks.webhook()[name] for name in ("name", "sideEffects", "admissionReviewVersions", "clientConfig")}
    path = await hooks.register({**bare, "rules": [rule("nonesuch")]})
    stored = (await server("GET", path)).body
    assert stored["metadata"]["generation"] == 1
    [found] = stored["webhooks"]
    assert {name: value for name, value in found.items() if name not in {*bare, "rules"}} == {
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
        "reinvocationPolicy": "Never",
        "timeoutSeconds": 10,
    }
    assert found["rules"][0]["scope"] == "*"
    table = await server("GET", path, Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert [each["name"] for each in table.body["columnDefinitions"]] == ["Name", "Webhooks", "Age"]
    assert table.body["rows"][0]["cells"][1] == 1
    patched = await server.patch(path, {"webhooks": [{"name": found["name"], "timeoutSeconds": 5}]}, STRATEGIC_PATCH)
    assert (patched.body["webhooks"][0]["timeoutSeconds"], patched.body["metadata"]["generation"]) == (5, 2)
    assert patched.body["webhooks"][0]["clientConfig"] == bare["clientConfig"]


SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"
REFUSED: dict[str, tuple[Object, list[str]]] = {
    "effects": ({"sideEffects": None}, ["sideEffects: Required value: must specify one of None, NoneOnDryRun"]),
    "some-effects": (
        {"sideEffects": "Some"},
        ['sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'],
    ),
    "versions": (
        {"admissionReviewVersions": []},
        ["admissionReviewVersions: Required value: must specify one of v1, v1beta1"],
    ),
    "unknown-version": (
        {"admissionReviewVersions": ["v9"]},
        ['admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1'],
    ),
    "version-twice": (
        {"admissionReviewVersions": ["v1", "v1"]},
        ['admissionReviewVersions[1]: Invalid value: "v1": duplicate version'],
    ),
    "name": (
        {"name": "short"},
        ['name: Invalid value: "short": should be a domain with at least three segments separated by dots'],
    ),
    "no-name": ({"name": ""}, ["name: Required value"]),
    "http": (
        {"clientConfig": {"url": "http://x/y"}},
        [
            (
                "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: "
                "https://host[/path]"
            )
        ],
    ),
    "no-client": ({"clientConfig": {}}, ["clientConfig: Required value: exactly one of url or service is required"]),
    "two-clients": (
        {"clientConfig": {"url": "https://x", "service": {"name": "a", "namespace": "b"}}},
        ["clientConfig: Required value: exactly one of url or service is required"],
    ),
    "url": (
        {"clientConfig": {"url": "https://u:p@x/y?a=b#c"}},
        [
            'clientConfig.url: Invalid value: "u:p": user information is not permitted in the URL',
            'clientConfig.url: Invalid value: "c": fragments are not permitted in the URL',
            'clientConfig.url: Invalid value: "a=b": query parameters are not permitted in the URL',
        ],
    ),
    "service": (
        {"clientConfig": {"service": {"port": 0, "path": "x//y/"}}},
        [
            "clientConfig.service.name: Required value",
            "clientConfig.service.namespace: Required value",
            "clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            "clientConfig.service.path: Invalid value: \"x//y/\": must start with a '/'",
            'clientConfig.service.path: Invalid value: "x//y/": segment[0] may not be empty',
            'clientConfig.service.path: Invalid value: "x//y/": segment[1] may not be empty',
        ],
    ),
    "timeout": (
        {"timeoutSeconds": 31},
        ["timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"],
    ),
    "policies": (
        {"failurePolicy": "X", "matchPolicy": "X", "reinvocationPolicy": "X"},
        [
            'failurePolicy: Unsupported value: "X": supported values: "Fail", "Ignore"',
            'matchPolicy: Unsupported value: "X": supported values: "Equivalent", "Exact"',
            'reinvocationPolicy: Unsupported value: "X": supported values: "IfNeeded", "Never"',
        ],
    ),
    "empty-rule": (
        {"rules": [rule(operations=(), apiGroups=[], apiVersions=[])]},
        [f"rules[0].{field}: Required value" for field in ("operations", "apiGroups", "apiVersions", "resources")],
    ),
    "stars": (
        {"rules": [rule("*", "pods", operations=("*", "CREATE"))]},
        [
            (
                'rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other '
                "operations"
            ),
            (
                'rules[0].resources: Invalid value: ["*","pods"]: if \'*\' is present, must not specify other '
                "resources without subresources"
            ),
        ],
    ),
    "words": (
        {"rules": [rule("pods", operations=("create",), scope="X")]},
        [
            (
                'rules[0].operations[0]: Unsupported value: "create": supported values: "*", "CONNECT", "CREATE", '
                '"DELETE", "UPDATE"'
            ),
            'rules[0].scope: Unsupported value: "X": supported values: "*", "Cluster", "Namespaced"',
        ],
    ),
    "parts": (
        {"rules": [rule("pods/*", "pods/status")]},
        ["rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"],
    ),
    "selector": (
        {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        [
            (
                "namespaceSelector.matchExpressions[0].values: Required value: must be specified when `operator` is "
                "'In' or 'NotIn'"
            )
        ],
    ),
    "selector-words": (
        {
            "objectSelector": {
                "matchLabels": {"c/": "e f"},
                "matchExpressions": [{"key": "a", "operator": "Is", "values": ["x", "x y"]}],
            }
        },
        [
            'objectSelector.matchLabels: Invalid value: "c/": name part must be non-empty',
            f'objectSelector.matchLabels: Invalid value: "c/": {QUALIFIED}',
            f'objectSelector.matchLabels: Invalid value: "e f": {VALUE_RULE}',
            'objectSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator',
            f'objectSelector.matchExpressions[0].values[1]: Invalid value: "x y": {VALUE_RULE}',
        ],
    ),
    "empty-condition": (
        {"matchConditions": [{"name": "", "expression": ""}]},
        ["matchConditions[0].expression: Required value", "matchConditions[0].name: Required value"],
    ),
    "conditions": (
        {
            "matchConditions": [
                {"name": "a", "expression": "foo"},
                {"name": "a", "expression": "object.spec"},
                {"name": "c", "expression": "request.nosuch"},
            ]
        },
        [
            (
                'matchConditions[0].expression: Invalid value: "foo": compilation failed: ERROR: <input>:1:1: '
                "undeclared reference to 'foo' (in container '')\n | foo\n | ^"
            ),
            'matchConditions[1].expression: Invalid value: "object.spec": must evaluate to bool but got dyn',
            'matchConditions[1].name: Duplicate value: "a"',
            (
                'matchConditions[2].expression: Invalid value: "request.nosuch": compilation failed: ERROR: '
                "<input>:1:8: undefined field 'nosuch'\n | request.nosuch\n | .......^"
            ),
        ],
    ),
}


async def test_a_configuration_is_refused_as_a_real_server_refuses_it(hooks: Webhooks, server: Remote) -> None:
    found, expected = {}, {}
    for case, (changes, faults) in REFUSED.items():
        reply = await server("POST", f"{CONFIGURATIONS}?dryRun=All", configuration("x", {**hooks.webhook(), **changes}))
        found[case] = reply.code, [f"{each['field']}: {each['message']}" for each in reply.body["details"]["causes"]]
        expected[case] = 422, [f"webhooks[0].{fault}" for fault in faults]
    assert found == expected
    twice = configuration("x", hooks.webhook(), hooks.webhook())
    reply = await server("POST", f"{CONFIGURATIONS}?dryRun=All", twice)
    assert 'webhooks[1].name: Duplicate value: "a.example.com"' in reply.message
