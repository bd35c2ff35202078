"""`listener hook`: what a saved delivery would do, and what leaves when it is sent again."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiohttp import web

from listener.cli import deliveries, hook, main
from listener.core.events import LARGEST_BODY, LARGEST_PROVEN_BODY
from listener.dialects import DIALECTS
from tests.cli.parts import Done, run
from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end import parts
from tests.end_to_end.parts import push_event, serve

HOST = "registry.example.com"
DIGEST = "sha256:" + "a" * 64
SECRET = "a secret of these tests"
PUSH = json.dumps({"events": [push_event(HOST, "shop/web", "v1", DIGEST)]}).encode()
PUSHED = json.loads(PUSH)["events"][0]
TYPE = "application/vnd.docker.distribution.events.v1+json"
GITHUB = json.dumps({"action": "published", "package": {}, "sender": {}}).encode()
MAC = hmac.new(SECRET.encode(), GITHUB, hashlib.sha256).hexdigest()

Save = Callable[[bytes], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(content: bytes) -> Path:
        file = tmp_path / "delivery"
        file.write_bytes(content)
        return file

    return save


@pytest.fixture
def listener(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run a command in this process, which is quick; the log is these tests' own."""
    monkeypatch.setattr("listener.logs.configure", lambda *_: None)

    def listener(*args: str | Path) -> Done:
        code: Any = 0
        try:
            main([*map(str, args)])
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return listener


@pytest.fixture
def explain(listener: Callable[..., Done]) -> Callable[..., Done]:
    return partial(listener, "hook", "explain")


@pytest.fixture
def send(listener: Callable[..., Done]) -> Callable[..., Awaitable[Done]]:
    """Beside this loop, in which the server is."""
    return partial(asyncio.to_thread, listener, "hook", "send")


def request(body: bytes, *headers: str, target: str = "/hooks/team", end: str = "\r\n") -> bytes:
    return end.join([f"POST {target} HTTP/1.1", *headers, "", ""]).encode() + body


# How explain reads


def test_the_document(explain: Callable[..., Done], save: Save) -> None:
    pull = {"id": "2", "action": "pull", "target": {"repository": "shop/web", "tag": "v1"}}
    broken = push_event(HOST, "shop/web", "v2", "sha256:nonsense")
    file = save(json.dumps({"events": [PUSHED, pull, broken]}).encode())
    document = explain(file, "-o", "json").document
    assert document == {
        "dialect": "distribution",
        "authentication": "none",
        "pushes": [
            {
                "registry": HOST,
                "repository": "shop/web",
                "tag": "v1",
                "digest": DIGEST,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "timestamp": "2026-01-01T00:00:00.123456Z",
                "actor": None,
                "id": PUSHED["id"],
            }
        ],
        "ignored": [{"what": "pull shop/web:v1", "why": "only a push moves a tag"}],
        "refused": [
            {
                "what": "push shop/web:v2",
                "why": "the digest is none (such as sha256: and 64 lower-case hexadecimal digits)",
            }
        ],
    }
    assert yaml.safe_load(explain(file, "-o", "yaml").text) == document


def test_for_people(explain: Callable[..., Done], save: Save) -> None:
    text = explain(save(PUSH), "--header", f"Authorization: Bearer {SECRET}").text
    assert text.split("\n")[:2] == [
        "dialect          distribution: CNCF Distribution (registry:2, registry:3)",
        "authentication   bearer",
    ]
    assert f"{HOST}/shop/web:v1   {DIGEST}" in text
    assert f"what follows {HOST}/shop/web:v1" in text


def test_a_delivery_without_anything(explain: Callable[..., Done], save: Save) -> None:
    assert explain(save(b'{"events": []}')).text.endswith("\n\nThere is nothing in it.")


def test_stdin(explain: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PUSH)))
    assert explain("-", "-o", "json").document["pushes"][0]["tag"] == "v1"


CHUNKED = b"5\r\n" + PUSH[:5] + b"\r\n%x;x=y\r\n" % len(PUSH[5:]) + PUSH[5:] + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(request(PUSH, f"Content-Type: {TYPE}", "Authorization: Bearer x"), id="as it went"),
        pytest.param(request(PUSH, "Authorization: Bearer x", end="\n"), id="lines as editors end them"),
        pytest.param(
            request(PUSH + b"\n", f"Content-Length: {len(PUSH)}", "Authorization: Bearer x"), id="a line end added"
        ),
        pytest.param(request(CHUNKED, "Transfer-Encoding: chunked", "AUTHORIZATION:Bearer x"), id="in chunks"),
        pytest.param(request(PUSH, "Transfer-Encoding: chunked", "Authorization: Bearer x"), id="chunks put together"),
        pytest.param(
            request(gzip.compress(PUSH), "Content-Encoding: gzip", "Authorization: Bearer x"), id="packed by gzip"
        ),
        pytest.param(request(PUSH, "Authorization: Bearer x", target="http://h/hooks/team"), id="through a proxy"),
    ],
)
def test_a_saved_request(content: bytes) -> None:
    saved = deliveries.parse("FILE", content, {}, {})
    assert saved.delivery.body == PUSH
    assert saved.delivery.headers["authorization"] == "Bearer x"
    assert saved.notes == ()


def test_what_is_given_goes_before_what_was_saved() -> None:
    content = request(b"", "X-A: file", "X-B: file", target="/hooks/team?a=file&b=file%20b&c")
    saved = deliveries.parse("FILE", content, {"x-a": "given"}, {"a": "given"})
    assert saved.delivery.headers == {"x-a": "given", "x-b": "file"}
    assert saved.delivery.query == {"a": "given", "b": "file b", "c": ""}


def test_what_is_there_twice_is_one_value_as_the_service_has_it() -> None:
    saved = deliveries.parse("FILE", request(b"", "X-A: 1", "x-a: 2", target="/?a=1&a=2"), {}, {})
    assert saved.delivery.headers == {"x-a": "1, 2"}
    assert saved.delivery.query == {"a": "1, 2"}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PUSH, id="JSON"),
        pytest.param(b"payload=%7B%7D HTTP/1.1\n", id="a form"),
        pytest.param(b"\r\nPOST / HTTP/1.1\r\n\r\n", id="not from the beginning"),
        pytest.param(b"POST / HTTP/1.1", id="no end of line"),
        pytest.param(b"POST /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", id="an endless target"),
        pytest.param(b"\xff\xfe{}", id="no text"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_no_request_is_a_body(content: bytes) -> None:
    assert deliveries.parse("FILE", content, {}, {}).delivery.body == content


def test_a_body_of_another_length_is_told(explain: Callable[..., Done], save: Save) -> None:
    done = explain(save(request(PUSH, "Content-Length: 9999")), "-o", "json")
    assert done.document["pushes"]
    assert "Content-Length says 9999 bytes" in done.err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(request(b"", "A: b", SECRET), "line 3 of ", id="no header"),
        pytest.param(request(b"", "A: b", f" {SECRET}: x"), "line 3 of ", id="a folded header"),
        pytest.param(request(b"", "A: " + "x" * 100_000), "line 2 of ", id="a long header"),
        pytest.param(request(b"", *["A: b"] * 2000), "too many headers", id="many headers"),
        pytest.param(request(gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip"), "answers 413", id="a bomb"),
        pytest.param(b" " * (LARGEST_PROVEN_BODY + 1), "answers 413", id="too large"),
    ],
)
def test_what_cannot_be_read_is_one_line_without_what_stands_there(
    content: bytes, why: str, explain: Callable[..., Done], save: Save
) -> None:
    refusal = explain(save(content)).refusal
    assert why in refusal
    assert SECRET not in refusal


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(request(PUSH, "Content-Encoding: br"), ("the service answers 415", "gzip or deflate"), id="br"),
        pytest.param(request(PUSH, "Content-Encoding: gzip"), ("answers 400", "take that header out"), id="unpacked"),
        pytest.param(request(gzip.compress(PUSH)[:-9], "Content-Encoding: gzip"), ("answers 400",), id="cut off"),
        pytest.param(request(gzip.compress(PUSH) + b"x", "Content-Encoding: gzip"), ("answers 400",), id="more behind"),
        pytest.param(
            request(PUSH, "Content-Encoding: br", end="\n").replace(b"POST", b"GET"),
            ("the service answers 405",),
            id="the method comes first",
        ),
    ],
)
def test_what_the_service_does_not_unpack_is_told_with_its_answer(
    content: bytes, told: Sequence[str], explain: Callable[..., Done], save: Save
) -> None:
    file = save(content)
    refusal = explain(file).refusal
    assert all(each in refusal for each in told)
    done = explain(file, "-o", "json")
    assert done.code == 1
    document = msgspec.json.decode(done.out)
    assert document["pushes"] == []
    assert [each["what"] for each in document["refused"]] == ["the delivery"]


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD"])
def test_a_hook_is_posted_to(method: str, explain: Callable[..., Done], save: Save) -> None:
    """Gitea can be told to send a GET with all in its URL."""
    target = "/hooks/team?payload=%7B%7D"
    file = save(request(b"", "X-Gitea-Event: package", target=target).replace(b"POST", method.encode()))
    assert "the service answers 405" in explain(file).refusal
    document = msgspec.json.decode(explain(file, "-o", "json").out)
    assert (document["dialect"], document["pushes"]) == ("gitea", [])


@pytest.mark.parametrize(
    ("name", "judged"), [("hmac", "hmac: not asked for"), ("bearer", "bearer: refused"), ("none", "none: accepted")]
)
def test_who_only_asks_whether_it_may_deliver_pushes_nothing(
    name: str, judged: str, settings: Path, explain: Callable[..., Done], save: Save
) -> None:
    asking = request(PUSH, "WebHook-Request-Origin: eventgrid.azure.net", target=f"/hooks/{name}")
    file = save(asking.replace(b"POST", b"OPTIONS"))
    for document in (
        explain(file, "-o", "json").document,
        explain(file, "--registry", name, "--config", settings, "-o", "json").document,
    ):
        assert (document["pushes"], len(document["ignored"])) == ([], 1)
    assert document["authentication"].startswith(judged)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        pytest.param("/hooks/bearer", "", id="its own"),
        pytest.param("/hooks/bearer/?a=b", "", id="its own, with a slash"),
        pytest.param("https://service.example/hooks/bearer", "", id="its own, through a proxy"),
        pytest.param("/hooks/basic", "of registry basic, and is judged as at that of bearer", id="another's"),
        pytest.param(
            f"/hooks/{'x' * 30}", "a hook that is none of the settings': there the service answers 404", id="?"
        ),
        pytest.param("/", "a path that is none of ours", id="no hook"),
        pytest.param("/webhooks/bearer", "a path that is none of ours", id="a path that a proxy may rewrite"),
    ],
)
def test_a_delivery_to_another_hook_is_told(
    target: str, said: str, explain: Callable[..., Done], settings: Path, save: Save
) -> None:
    file = save(request(PUSH, f"Authorization: Bearer {SECRET}", target=target))
    done = explain(file, "--registry", "bearer", "--config", settings, "-o", "json")
    assert len(done.document["pushes"]) == 1
    assert said in done.err
    assert bool(said) is bool(done.err)
    assert "x" * 30 not in done.err


def test_a_file_that_is_missing_is_one_line(explain: Callable[..., Done]) -> None:
    assert explain("/nowhere/x").refusal == "/nowhere/x cannot be read: No such file or directory"


# In which dialect it is


@pytest.mark.parametrize(
    ("content", "needed", "looked_at"),
    [
        pytest.param(GITHUB, "X-GitHub-Event", "action, package, sender", id="GitHub or Gitea"),
        pytest.param(b'{"nodeId": 1}', "X-Nexus-Webhook-ID", "nodeId", id="Nexus"),
        pytest.param(b"{}", "X-GitHub-Event", "an empty JSON object", id="an empty object"),
        pytest.param(b"", "X-Nexus-Webhook-ID", "the body (empty)", id="empty"),
        pytest.param(b"\x1b[2J", "X-GitHub-Event", "no JSON", id="no JSON"),
        pytest.param(b'"\xff"', "X-GitHub-Event", "no JSON: 'utf-8' codec can't decode byte", id="no UTF-8"),
        pytest.param(b"[" * 65 + b"]" * 65, "X-GitHub-Event", "the body (nested too deeply)", id="too deep"),
        pytest.param(b'{"\\u001b[2J": 1}', "X-GitHub-Event", "\N{REPLACEMENT CHARACTER}[2J", id="no text for a screen"),
    ],
)
def test_an_unknown_delivery(
    content: bytes, needed: str, looked_at: str, explain: Callable[..., Done], save: Save
) -> None:
    file = save(content)
    refusal = explain(file, "--header", f"X-Token: {SECRET}").refusal
    assert f"needs {needed}" in refusal
    assert looked_at in refusal
    assert "the headers (x-token)" in refusal
    assert SECRET not in refusal
    done = explain(file, "-o", "json")
    assert done.code == 1
    assert msgspec.json.decode(done.out)["dialect"] is None


def test_the_missing_header_is_what_was_missing(explain: Callable[..., Done], save: Save) -> None:
    document = explain(save(GITHUB), "--header", "X-GitHub-Event: package", "-o", "json").document
    assert document["dialect"] == "github"


def test_every_header_that_is_asked_for_is_one_by_which_a_dialect_is_recognised() -> None:
    assert {sign.dialect for sign in hook._SIGNS} <= DIALECTS.keys()
    for sign in hook._SIGNS:
        completed = hook._completed(deliveries.parse("FILE", b'{"Type": "x"}', {}, {}), sign.dialect)
        assert DIALECTS[sign.dialect].recognises(completed), sign.dialect


def test_a_delivery_of_another_dialect_is_malformed_and_looks_like_its_own(
    explain: Callable[..., Done], save: Save
) -> None:
    file = save(PUSH)
    refusal = explain(file, "--dialect", "harbor").refusal
    assert refusal.startswith("as harbor writes it, this is malformed, and the service answers 400: ")
    assert refusal.endswith("It looks like distribution")
    done = explain(file, "--dialect", "harbor", "-o", "json")
    assert done.code == 1
    assert [each["what"] for each in msgspec.json.decode(done.out)["refused"]] == ["the delivery"]


# Whose it is


@pytest.mark.parametrize(
    ("args", "carried"),
    [
        pytest.param((), "none", id="nothing"),
        pytest.param(("--header", f"Authorization: Bearer {SECRET}"), "bearer", id="bearer"),
        pytest.param(
            ("--header", "Authorization: Bearer aaaaaaaaaaaa.bbbbbbbbbbbb.cccccccccccc"),
            "bearer (a signed token, as of oidc)",
            id="oidc",
        ),
        pytest.param(("--header", "Authorization: Basic YTpi"), "basic", id="basic"),
        pytest.param(("--header", f"Authorization: {SECRET.replace(' ', '')}"), "header authorization", id="bare"),
        pytest.param(("--header", f"X-Api-Key: {SECRET}"), "header x-api-key", id="header"),
        pytest.param(("--query", f"secret={SECRET}"), "query secret", id="query"),
        pytest.param(
            ("--header", "X-GitHub-Event: package", "--header", f"X-Hub-Signature-256: sha256={MAC}"),
            "hmac in x-hub-signature-256",
            id="hmac",
        ),
        pytest.param(
            ("--header", "Authorization: Bearer x", "--query", "token=y"), "bearer, query token", id="several"
        ),
        pytest.param(("--header", "X-Request-Id: 1", "--query", "page=1"), "none", id="other headers"),
    ],
)
def test_what_a_delivery_carries(args: Sequence[str], carried: str, explain: Callable[..., Done], save: Save) -> None:
    done = explain(save(GITHUB if "GitHub" in str(args) else PUSH), *args, "-o", "json")
    assert done.document["authentication"] == carried
    assert SECRET not in done.out


def test_the_signature_of_sns_is_in_its_body(explain: Callable[..., Done], save: Save) -> None:
    body = json.dumps({"Type": "Notification", "Signature": "eA==", "SigningCertURL": "https://x", "events": []})
    assert explain(save(body.encode()), "-o", "json").document["authentication"] == "sns signature"


AUTH: dict[str, Any] = {
    "bearer": {"bearer": {"secretEnv": "TEAM_SECRET"}},
    "basic": {"basic": {"username": "robot", "secretEnv": "TEAM_SECRET"}},
    "header": {"header": {"name": "X-Token", "secretEnv": "TEAM_SECRET"}},
    "hmac": {"hmac": {"header": "X-Hub-Signature-256", "prefix": "sha256=", "secretEnv": "TEAM_SECRET"}},
    "query": {"query": {"name": "token", "secretEnv": "TEAM_SECRET"}},
    "oidc": {"oidc": {"issuer": "https://i.example", "audience": "us", "claims": {"sub": "x"}}},
    "sns": {"sns": {"topics": ["arn:aws:sns:eu-west-1:123456789012:pushes"]}},
    "none": {"none": True},
    "missing": {"bearer": {"secretFile": "/nowhere/secret"}},
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry for each kind of `auth`, by its name."""
    monkeypatch.setenv("TEAM_SECRET", SECRET)
    file = tmp_path / "settings.yaml"
    registries = [{"name": name, "host": HOST, "auth": auth} for name, auth in AUTH.items()]
    next(registry for registry in registries if registry["name"] == "sns")["dialect"] = "aws-sns"
    registries[0] |= {"aliases": ["registry.internal:5000"]}
    registries.append({"name": "own", "host": HOST, "auth": {"none": True}, "integrated": True})
    registries.append({"name": "harbor", "host": HOST, "auth": AUTH["bearer"], "dialect": "harbor"})
    file.write_text(yaml.safe_dump({"registries": registries, "namespaces": ["shop"]}))
    return file


BASIC = base64.b64encode(b"robot:" + SECRET.encode()).decode()


@pytest.mark.parametrize(
    ("name", "args", "judged"),
    [
        pytest.param("bearer", ("--header", f"Authorization: Bearer {SECRET}"), "bearer: accepted", id="bearer"),
        pytest.param("bearer", (), "bearer: refused (expected the header Authorization", id="bearer missing"),
        pytest.param("bearer", ("--header", "Authorization: Bearer y"), "bearer: refused (", id="another bearer"),
        pytest.param("basic", ("--header", f"Authorization: Basic {BASIC}"), "basic: accepted", id="basic"),
        pytest.param("header", ("--header", f"X-Token: {SECRET}"), "header: accepted", id="header"),
        pytest.param("query", ("--query", f"token={SECRET}"), "query: accepted", id="query"),
        pytest.param("oidc", (), "oidc: not checked offline", id="oidc"),
        pytest.param("sns", ("--dialect", "distribution"), "sns: not checked offline", id="sns"),
        pytest.param("none", (), "none: accepted, as anybody's would be", id="none"),
        pytest.param("missing", (), "bearer: not checked (secretFile /nowhere/secret cannot be read", id="no secret"),
    ],
)
def test_a_registry_judges(
    name: str, args: Sequence[str], judged: str, settings: Path, save: Save, explain: Callable[..., Done]
) -> None:
    done = explain(save(PUSH), *args, "--registry", name, "--config", settings, "-o", "json")
    assert done.document["authentication"].startswith(judged)
    assert len(done.document["pushes"]) == 1
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize(
    ("name", "is_read"), [("none", False), ("hmac", False), ("sns", False), ("bearer", True), ("oidc", True)]
)
def test_a_large_body_is_read_of_who_can_be_known_before_it(
    name: str, is_read: bool, settings: Path, save: Save, explain: Callable[..., Done]
) -> None:
    file = save(PUSH + b" " * LARGEST_BODY)
    done = explain(file, "--registry", name, "--config", settings, "--dialect", "distribution")
    assert (done.code, "answers 413" in done.err) == ((0, False) if is_read else (1, True))
    note = explain(file)
    assert note.code == 0
    assert f"larger than {LARGEST_BODY} bytes: the service answers 413, unless" in note.err


def test_a_signature_that_an_editor_broke(settings: Path, save: Save, explain: Callable[..., Done]) -> None:
    signed = ("--header", "X-GitHub-Event: package", "--header", f"X-Hub-Signature-256: sha256={MAC}")
    args = (*signed, "--registry", "hmac", "--config", str(settings), "-o", "json")
    assert explain(save(GITHUB), *args).document["authentication"] == "hmac: accepted"
    judged = explain(save(GITHUB + b"\n"), *args).document["authentication"]
    assert judged == (
        "hmac: refused (the signature fits the body without the end of line that FILE has and an editor may have added)"
    )


def test_what_was_packed_was_signed_so(settings: Path, save: Save, explain: Callable[..., Done]) -> None:
    packed = gzip.compress(GITHUB)
    mac = hmac.new(SECRET.encode(), packed, hashlib.sha256).hexdigest()
    headers = ("X-GitHub-Event: package", "Content-Encoding: gzip", f"X-Hub-Signature-256: sha256={mac}")
    file = save(request(packed, *headers))
    done = explain(file, "--registry", "hmac", "--config", settings, "-o", "json")
    assert done.document["authentication"] == "hmac: accepted"
    assert done.document["dialect"] == "github"


def test_a_registrys_names(settings: Path, save: Save, explain: Callable[..., Done]) -> None:
    hosts = (HOST, "registry.internal:5000", "evil.example.com")
    events = [push_event(host, "shop/web", f"v{number}", DIGEST) for number, host in enumerate(hosts)]
    file = save(json.dumps({"events": events}).encode())
    done = explain(file, "--registry", "bearer", "--config", settings, "-o", "json")
    assert [push["tag"] for push in done.document["pushes"]] == ["v0", "v1"]
    assert [remark["what"] for remark in done.document["refused"]] == ["push of shop/web:v2"]
    text = explain(file, "--registry", "bearer", "--config", settings).text
    assert f"registry         bearer: {HOST}" in text
    assert "The service answers 401" in text
    assert f"what follows {HOST}/shop/web:v1" in text


def test_of_who_proves_nothing_only_that_something_was_pushed_is_believed(
    settings: Path, save: Save, explain: Callable[..., Done]
) -> None:
    events = [push_event(HOST, "shop/web", f"v{number}", DIGEST) for number in range(150)]
    file = save(json.dumps({"events": events}).encode())
    args = (file, "--registry", "none", "--config", settings)
    document = explain(*args, "-o", "json").document
    assert [push["tag"] for push in document["pushes"]] == [f"v{number}" for number in range(100)]
    assert {(push["digest"], push["timestamp"]) for push in document["pushes"]} == {(None, None)}
    assert [remark["what"] for remark in document["refused"]] == ["50 pushes more"]
    text = explain(*args).text
    assert DIGEST not in text
    assert "none: accepted, as anybody's would be: of digest and time, the registry is asked" in text


def test_docker_hub_is_one_registry_under_all_its_names(
    tmp_path: Path, save: Save, explain: Callable[..., Done]
) -> None:
    file = tmp_path / "hub.yaml"
    hub = {"name": "hub", "host": "index.docker.io", "dialect": "dockerhub", "auth": {"none": True}}
    file.write_text(yaml.safe_dump({"registries": [hub]}))
    body = {"push_data": {"tag": "v1"}, "repository": {"repo_name": "redis"}}
    done = explain(save(json.dumps(body).encode()), "--registry", "hub", "--config", file)
    assert "what follows docker.io/library/redis:v1" in done.text


def test_an_integrated_registry_names_the_stream(settings: Path, save: Save, explain: Callable[..., Done]) -> None:
    done = explain(save(PUSH), "--registry", "own", "--config", settings, "-o", "json")
    assert done.document["pushes"][0]["imageStreamTag"] == "shop/web:v1"


def test_a_registrys_own_dialect_is_used(settings: Path, save: Save, explain: Callable[..., Done]) -> None:
    refusal = explain(save(PUSH), "--registry", "harbor", "--config", settings).refusal
    assert refusal.startswith("as harbor writes it")


def test_a_registry_that_is_none(settings: Path, save: Save, explain: Callable[..., Done]) -> None:
    done = explain(save(PUSH), "--registry", "x", "--config", settings)
    assert done.refusal.startswith(f"there is no registry 'x' in {settings}; there are: bearer, basic,")


def test_explain_is_offline(save: Save) -> None:
    program = (
        "import sys\nfrom listener.cli import main\n"
        f"main(['hook', 'explain', {str(save(PUSH))!r}, '-o', 'json'])\n"
        "print('IMPORTED', *sorted({'kubernetes_asyncio', 'aiohttp', 'listener.app'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.rstrip("\n").split("\n")[-1] == "IMPORTED"


# Send


@dataclass(slots=True)
class Hook:
    """A server that keeps what it gets, and answers as told."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b'{"delivery": "d1", "outcome": "ignored"}'
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((request.path_qs, headers, await request.read()))
        return web.Response(status=self.status, headers=self.headers, body=self.answer)


@pytest.fixture
async def server() -> AsyncIterator[Hook]:
    found = Hook()
    runner = web.ServerRunner(web.Server(found.take, auto_decompress=False))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def test_the_very_bytes_are_sent(server: Hook, save: Save, send: Callable[..., Awaitable[Done]]) -> None:
    body = b'{ "events" : [ ] }\r\n\xff'
    assert (await send(save(body), "--url", f"{server.url}/hooks/team")).code == 0
    ((path, headers, got),) = server.got
    assert (path, got) == ("/hooks/team", body)
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers


async def test_a_saved_request_is_sent_with_its_headers(
    server: Hook, save: Save, send: Callable[..., Awaitable[Done]]
) -> None:
    packed = gzip.compress(PUSH)
    saved = request(
        packed,
        f"Content-Type: {TYPE}",
        "Content-Encoding: gzip",
        "Host: elsewhere.example",
        "Connection: close",
        "User-Agent: registry",
        "Content-Length: 7777",
        target="/hooks/other?token=a%2Bb",
    )
    done = await send(save(saved), "--url", f"{server.url}/hooks/team?x=1", "--header", "X-More: yes")
    assert done.code == 0
    ((path, headers, got),) = server.got
    assert path in ("/hooks/team?x=1&token=a%2Bb", "/hooks/team?x=1&token=a+b")
    assert got == packed
    assert headers["content-type"] == TYPE
    assert headers["content-encoding"] == "gzip"
    assert headers["user-agent"] == "registry"
    assert headers["x-more"] == "yes"
    assert server.url.endswith(headers["host"])
    assert headers["content-length"] == str(len(packed))


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        pytest.param("bearer", "authorization", f"Bearer {SECRET}", id="bearer"),
        pytest.param("basic:robot", "authorization", f"Basic {BASIC}", id="basic"),
        pytest.param("header:X-Token", "x-token", SECRET, id="header"),
        pytest.param("hmac", "x-hub-signature-256", f"sha256={MAC}", id="hmac of the dialect"),
        pytest.param("hmac:X-Hub-Signature-256", "x-hub-signature-256", f"sha256={MAC}", id="hmac as known"),
        pytest.param("hmac:X-Mac", "x-mac", MAC, id="hmac in any header"),
    ],
)
async def test_a_secret_is_carried(
    auth: str, name: str, value: str, server: Hook, save: Save, tmp_path: Path, send: Callable[..., Awaitable[Done]]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\nthe one before\n")
    args = ("--auth", auth, "--secret-file", secret, "--dialect", "github")
    done = await send(save(GITHUB), "--url", server.url, *args)
    assert done.code == 0, done.err
    ((_, headers, _),) = server.got
    assert headers[name] == value
    assert headers["x-github-event"] == "package"
    assert SECRET not in done.out + done.err


async def test_a_secret_is_carried_in_the_url(
    server: Hook, save: Save, monkeypatch: pytest.MonkeyPatch, send: Callable[..., Awaitable[Done]]
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "a+b&c")
    done = await send(*(save(PUSH), "--url", f"{server.url}/h", "--auth", "query:t", "--secret-env", "HOOK_SECRET"))
    assert done.code == 0
    assert server.got[0][0] == "/h?t=a%2Bb%26c"


@pytest.mark.parametrize("name", ["bearer", "basic", "header", "hmac", "query", "none"])
async def test_what_is_sent_for_a_registry_is_what_it_accepts(
    name: str,
    server: Hook,
    save: Save,
    settings: Path,
    tmp_path: Path,
    explain: Callable[..., Done],
    send: Callable[..., Awaitable[Done]],
) -> None:
    done = await send(save(PUSH), "--url", server.url, "--registry", name, "--config", settings)
    assert done.code == 0, done.err
    ((path, headers, body),) = server.got
    assert path.partition("?")[0] == f"/hooks/{name}"
    again = tmp_path / "again"
    again.write_bytes(request(body, *(f"{key}: {value}" for key, value in headers.items()), target=path))
    explained = explain(again, "--registry", name, "--config", settings, "-o", "json")
    assert explained.document["authentication"].startswith(f"{name}: accepted")


async def test_what_only_its_sender_can_sign_is_sent_as_it_was(
    server: Hook, save: Save, settings: Path, send: Callable[..., Awaitable[Done]]
) -> None:
    args = ("--url", server.url, "--registry", "oidc", "--config", settings, "--header", "Authorization: Bearer jwt")
    done = await send(save(PUSH), *args)
    assert done.code == 0
    assert "wants oidc, which only its sender can sign" in done.err
    assert server.got[0][1]["authorization"] == "Bearer jwt"


async def test_the_answer_for_people_and_for_programs(
    server: Hook, save: Save, send: Callable[..., Awaitable[Done]]
) -> None:
    moved = {"namespace": "shop", "stream": "web", "tag": "v1", "digest": DIGEST}
    refused = {"what": "push of x:1", "why": "because \x1b[2J"}
    answer = {"delivery": "d1", "outcome": "refused", "moved": [moved], "ignored": [], "refused": [refused]}
    server.answer = json.dumps(answer).encode()
    args = (save(PUSH), "--url", server.url)
    text = (await send(*args)).text
    assert text.split("\n")[0] == "200 OK: refused"
    assert f"moved     shop/web:v1   {DIGEST}" in text
    assert "because \N{REPLACEMENT CHARACTER}[2J" in text
    assert "delivery d1" in text
    assert (await send(*args, "-o", "json")).document == {"status": 200, "answer": answer}


async def test_an_answer_that_is_no_report_is_shown(
    server: Hook, save: Save, send: Callable[..., Awaitable[Done]]
) -> None:
    server.answer = b'{"validationResponse": "code"}'
    assert (await send(save(PUSH), "--url", server.url)).text == f"200 OK\n{server.answer.decode()}"


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        pytest.param(401, b'{"error": "the delivery\\ndoes not"}', "the delivery does not", id="ours"),
        pytest.param(
            502, b"<html>\n\x1b[2Jbad gateway", "<html> \N{REPLACEMENT CHARACTER}[2Jbad gateway", id="a proxy"
        ),
        pytest.param(404, b"", "nothing more", id="empty"),
        pytest.param(400, b'{"error": 5}', '{"error": 5}', id="no words"),
    ],
)
async def test_any_other_answer_is_exit_code_1_and_one_line(
    status: int, answer: bytes, told: str, server: Hook, save: Save, send: Callable[..., Awaitable[Done]]
) -> None:
    server.status, server.answer = status, answer
    done = await send(save(PUSH), "--url", server.url)
    assert done.refusal == f"the service answers {status}: {told}"


async def test_no_redirect_is_followed(server: Hook, save: Save, send: Callable[..., Awaitable[Done]]) -> None:
    server.status, server.headers = 307, {"Location": f"{server.url}/elsewhere"}
    done = await send(save(PUSH), "--url", server.url, "--header", f"Authorization: Bearer {SECRET}")
    assert done.refusal == f"the service answers 307: it is at {server.url}/elsewhere; name that URL"
    assert len(server.got) == 1


async def test_nobody_there_is_one_line_without_the_query(save: Save, send: Callable[..., Awaitable[Done]]) -> None:
    url = f"http://127.0.0.1:{parts.free_port()}/hooks/team"
    done = await send(save(PUSH), "--url", f"{url}?token={SECRET.replace(' ', '')}")
    assert done.refusal.startswith(f"{url} cannot be reached: ")


async def test_what_is_no_http_is_one_line(save: Save, send: Callable[..., Awaitable[Done]]) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        assert (await send(save(PUSH), "--url", url)).refusal.startswith(f"{url} gives no answer")


URL = ("--url", "http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        pytest.param(("explain",), "Missing argument 'FILE'", id="no file"),
        pytest.param(("explain", "f", "--header", SECRET), "expected 'Name: value'", id="no header"),
        pytest.param(("explain", "f", "--header", f"X: {SECRET}\r\nY: 1"), "on one line", id="two headers in one"),
        pytest.param(("explain", "f", "--query", SECRET), "expected 'name=value'", id="no parameter"),
        pytest.param(("explain", "f", "--dialect", "klingon"), "'klingon' is not one of", id="no dialect"),
        pytest.param(("explain", "f", "--registry", "team"), "with --config", id="no settings"),
        pytest.param(("send", "f"), "Missing option '--url'", id="no URL"),
        pytest.param(("send", "f", "--url", "file:///etc/passwd"), "expected http://", id="another scheme"),
        pytest.param(("send", "f", "--url", "http://[::1/"), "expected http://", id="no URL at all"),
        pytest.param(("send", "f", "--url", "http://127.0.0.1:99999/"), "expected http://", id="no port"),
        pytest.param(("send", "f", "--url", f"http://u:{SECRET}@h/"), "put no password", id="a password in the URL"),
        pytest.param(("send", "f", *URL, "--auth", "bearer"), "one of --secret-file and --secret-env", id="no secret"),
        pytest.param(("send", "f", *URL, "--secret-env", "X"), "a secret goes with --auth", id="no way to carry it"),
        pytest.param(
            ("send", "f", *URL, "--auth", "bearer", "--registry", "team"), "goes with no --registry", id="two ways"
        ),
        pytest.param(
            ("send", "f", *URL, "--auth", "magic", "--secret-env", "X"), "expected bearer, basic:", id="no such way"
        ),
        pytest.param(
            ("send", "f", *URL, "--auth", "basic", "--secret-env", "X"), "expected bearer, basic:", id="no user name"
        ),
    ],
)
def test_wrong_usage(args: Sequence[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["hook", *args])
    out, err = capsys.readouterr()
    assert Done(2, out, err).misuse
    assert ended.value.code == 2
    assert why in err
    assert SECRET not in err


async def test_the_service_answers_what_explain_foretold(
    cluster: ClusterUnderTest, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEAM_SECRET", parts.SECRET)
    namespace = await cluster.namespace("hook")
    events = [
        push_event("evil.example.com", f"{namespace}/web", "v1", DIGEST),
        push_event(HOST, "one/too/many", "v1", DIGEST),
        push_event(HOST, "elsewhere/web", "v1", DIGEST),
        push_event(HOST, f"{namespace}/web", "v1", "sha256:nonsense"),
        {"id": "2", "action": "pull", "target": {"repository": "shop/web", "tag": "v1"}},
    ]
    file = save(json.dumps({"events": events}).encode())
    registries = [
        parts.registry(HOST, integrated=True, verify=False),
        {"name": "open", "host": HOST, "auth": {"none": True}},
    ]
    folder = tmp_path / "service"
    async with serve(cluster, folder, registries=registries, namespaces=[namespace]) as listener:
        await listener.ready()
        team = ("--registry", "team", "--config", folder / "config.yaml", "-o", "json")
        answer = (await run("hook", "send", file, "--url", listener.hooks, *team)).document["answer"]
        explained = (await run("hook", "explain", file, *team)).document
        assert len(answer["refused"]) == 4
        assert {each["why"] for each in answer["refused"]} == {each["why"] for each in explained["refused"]}
        assert answer["ignored"] == explained["ignored"]

        open_ = ("--registry", "open", *team[2:])
        many = [push_event(HOST, "shop/web", f"v{number}", DIGEST) for number in range(150)]
        strangers = save(json.dumps({"events": [*events, *many]}).encode())
        answer = (await run("hook", "send", strangers, "--url", listener.hooks, *open_)).document["answer"]
        explained = (await run("hook", "explain", strangers, *open_)).document
        assert "53 pushes more" in {each["what"] for each in answer["refused"]}
        assert answer["refused"] == explained["refused"]
        # Of those that are believed nobody takes any, which only the service knows.
        assert [each["what"] for each in answer["ignored"][:20]] == [
            *(each["what"] for each in explained["ignored"]),
            *(f"push of {each['repository']}:{each['tag']}" for each in explained["pushes"][:19]),
        ]

        refusal = (await run("hook", "send", file, "--url", f"{listener.hooks}/hooks/team")).refusal
        assert refusal.startswith("the service answers 401: ")


def test_the_public_name_of_an_integrated_registry_is_its_own(
    tmp_path: Path, save: Save, explain: Callable[..., Done]
) -> None:
    file = tmp_path / "public.yaml"
    team = {"name": "team", "host": "registry.internal", "integrated": True, "publicHost": HOST, "auth": {"none": True}}
    file.write_text(yaml.safe_dump({"registries": [team]}))
    done = explain(save(PUSH), "--registry", "team", "--config", file, "-o", "json")
    assert [push["registry"] for push in done.document["pushes"]] == [HOST]
