"""Pull secrets: which login is for which image."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from listener.core import keyring, references
from listener.core.keyring import Credential, PullSecret

ANN = Credential("ann", "secret-of-ann")
BOB = Credential("bob", "secret-of-bob")
CID = Credential("cid", "secret-of-cid")


def login(credential: Credential) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()}


def secret(auths: Any, *, name: str = "pull") -> PullSecret:
    data = {".dockerconfigjson": json.dumps({"auths": auths}).encode()}
    return PullSecret(name, "kubernetes.io/dockerconfigjson", data)


def legacy(auths: Any) -> PullSecret:
    return PullSecret("old", "kubernetes.io/dockercfg", {".dockercfg": json.dumps(auths).encode()})


@pytest.mark.parametrize(
    ("key", "image", "matches"),
    [
        pytest.param("quay.io", "quay.io/org/app", True, id="host"),
        pytest.param("https://quay.io", "quay.io/org/app", True, id="scheme"),
        pytest.param("HTTP://quay.io/", "quay.io/org/app", True, id="scheme in capitals, slash at the end"),
        pytest.param("https://quay.io/v2/", "quay.io/org/app", True, id="/v2/"),
        pytest.param("https://quay.io/v1/", "quay.io/org/app", True, id="/v1/"),
        pytest.param("quay.io/v2", "quay.io/org/app", True, id="/v2 without its slash"),
        pytest.param("quay.io/v2/org", "quay.io/org/app", True, id="/v2/ before a path"),
        pytest.param("quay.io/v2x", "quay.io/org/app", False, id="a path that only begins like a version"),
        pytest.param("Quay.IO", "quay.io/org/app", True, id="case of the key"),
        pytest.param("quay.io", "Quay.io/org/app", True, id="case of the image"),
        pytest.param("quay.io", "quay.iox/org/app", False, id="longer host"),
        pytest.param("quay.io/org", "quay.io/org/app", True, id="path"),
        pytest.param("quay.io/org/app", "quay.io/org/app:tag", True, id="whole repository"),
        pytest.param("quay.io/other", "quay.io/org/app", False, id="another path"),
        pytest.param("quay.io/or", "quay.io/org/app", True, id="a path matches by its beginning, as in the kubelet"),
        pytest.param("reg.x:5000", "reg.x:5000/app", True, id="port"),
        pytest.param("reg.x", "reg.x:5000/app", False, id="the image has a port, the key has none"),
        pytest.param("reg.x:5000", "reg.x/app", False, id="the key has a port, the image has none"),
        pytest.param("reg.x:5000", "reg.x:5001/app", False, id="another port"),
        pytest.param("*.example.com", "a.example.com/app", True, id="glob"),
        pytest.param("*.example.com", "a.b.example.com/app", False, id="a glob is one label"),
        pytest.param("*.example.com", "example.com/app", False, id="a glob is a label"),
        pytest.param("*.*.example.com", "a.b.example.com/app", True, id="two globs"),
        pytest.param("reg-?.example.com", "reg-1.example.com/app", True, id="question mark"),
        pytest.param("*.example.com:5000", "a.example.com:5000/app", True, id="glob and port"),
        pytest.param("*.example.com", "a.example.com:5000/app", False, id="glob without the port"),
        pytest.param("*.example.com/org", "a.example.com/org/app", True, id="glob and path"),
        pytest.param("*.example.com/org", "a.example.com/app", False, id="glob and another path"),
        pytest.param("*", "localhost/app", True, id="a glob for one label"),
        pytest.param("[::1]:5000", "[::1]:5000/app", True, id="IPv6"),
        pytest.param("[::1]", "[::1]:5000/app", False, id="IPv6, another port"),
        pytest.param("https://index.docker.io/v1/", "nginx", True, id="Docker Hub as docker login writes it"),
        pytest.param("docker.io", "nginx", True, id="docker.io"),
        pytest.param("registry-1.docker.io", "org/app", True, id="registry-1.docker.io"),
        pytest.param("https://index.docker.io/v1/", "docker.io/org/app", True, id="docker.io written"),
        pytest.param("https://index.docker.io/v1/", "index.docker.io/app", True, id="index.docker.io written"),
        pytest.param("docker.io/library", "nginx", True, id="library is the path of a bare name"),
        pytest.param("docker.io/org", "nginx", False, id="a path of the Hub"),
        pytest.param("docker.io", "quay.io/org/app", False, id="the Hub is nobody else"),
        pytest.param("https://ann:pw@quay.io", "quay.io/app", True, id="a login in the key"),
    ],
)
def test_matches_as_the_kubelet_does(key: str, image: str, matches: bool) -> None:
    keys = keyring.read([secret({key: login(ANN)})])
    assert keys.problems == ()
    assert keys.matching(references.parse(image)) == ((ANN,) if matches else ())


def test_gives_the_most_specific_first() -> None:
    auths = {
        "*.example.com": login(Credential("glob", "p")),
        "a.example.com": login(Credential("host", "p")),
        "*.example.com/org": login(Credential("glob and path", "p")),
        "a.example.com/org": login(Credential("path", "p")),
        "a.example.com/org/app": login(Credential("repository", "p")),
    }
    found = keyring.read([secret(auths)]).matching(references.parse("a.example.com/org/app"))
    assert [credential.username for credential in found] == ["repository", "path", "glob and path", "host", "glob"]


def test_gives_every_login_once_and_in_the_order_of_the_secrets() -> None:
    keys = keyring.read(
        [
            secret({"quay.io": login(BOB)}),
            secret({"quay.io": login(ANN), "https://quay.io/v2/": login(BOB)}),
            legacy({"quay.io": login(CID)}),
        ]
    )
    assert keys.matching(references.parse("quay.io/app")) == (BOB, ANN, CID)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(login(ANN), ANN, id="auth"),
        pytest.param({"username": "ann", "password": "secret-of-ann"}, ANN, id="username and password"),
        pytest.param({**login(ANN), "username": "x", "password": "y"}, ANN, id="auth counts before them"),
        pytest.param(
            {"auth": base64.b64encode(b"ann:with:colons").decode()}, Credential("ann", "with:colons"), id="colons"
        ),
        pytest.param({"auth": base64.b64encode(b"a:b").decode().rstrip("=")}, Credential("a", "b"), id="no padding"),
        pytest.param({"auth": "YW5u\nOng=\n"}, Credential("ann", "x"), id="folded"),
        pytest.param({"auth": base64.b64encode(b"ann:x\0\0").decode()}, Credential("ann", "x"), id="NULs at the end"),
        pytest.param(
            {"auth": base64.b64encode("ann:pä".encode()).decode()}, Credential("ann", "pä"), id="beyond ASCII"
        ),
        pytest.param({"identitytoken": "t0k"}, Credential("", "", "t0k"), id="identity token"),
        pytest.param(
            {"auth": base64.b64encode(b"ann:").decode(), "identitytoken": "t0k"},
            Credential("ann", "", "t0k"),
            id="identity token beside a name",
        ),
    ],
)
def test_reads_logins(entry: dict[str, str], expected: Credential) -> None:
    for found in (secret({"quay.io": entry}), legacy({"quay.io": entry})):
        assert keyring.read([found]).matching(references.parse("quay.io/app")) == (expected,)


def raw(content: bytes) -> PullSecret:
    return PullSecret("broken", "kubernetes.io/dockerconfigjson", {".dockerconfigjson": content})


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        pytest.param(PullSecret("broken", "kubernetes.io/dockerconfigjson", {}), "key .dockerconfigjson is missing"),
        pytest.param(PullSecret("broken", "kubernetes.io/dockercfg", {}), "key .dockercfg is missing"),
        pytest.param(raw(b"hunter2"), "JSON object", id="no JSON"),
        pytest.param(raw(b'["hunter2"]'), "JSON object", id="no object"),
        pytest.param(raw(b'{"a":' * 100_000), "JSON object", id="deeper than the stack"),
        pytest.param(raw(b'{"quay.io": {"password": "hunter2"}}'), 'object "auths"', id="the old form by the new name"),
        pytest.param(secret({"quay.io": "hunter2"}, name="broken"), "entry 1 must be an object", id="entry"),
        pytest.param(secret({"quay.io": {"auth": "hunter2!"}}, name="broken"), "base64 of", id="no base64"),
        pytest.param(secret({"quay.io": {"auth": "aHVudGVyMg=="}}, name="broken"), "base64 of", id="no colon"),
        pytest.param(secret({"quay.io": {"auth": "/////w=="}}, name="broken"), "base64 of", id="no text"),
        pytest.param(secret({"quay.io": {"password": 7}}, name="broken"), "as texts", id="password is a number"),
        pytest.param(secret({"u:hunter2@q.io": {}}, name="broken"), "holds no credentials", id="nothing in it"),
        pytest.param(secret({"": login(ANN)}, name="broken"), "is for no host", id="no host"),
    ],
)
def test_tells_a_problem_by_the_name_of_the_secret(broken: PullSecret, problem: str) -> None:
    keys = keyring.read([broken, secret({"quay.io": login(BOB)})])
    (told,) = keys.problems
    assert problem in told
    assert told.startswith("pull secret broken: ")
    assert "hunter2" not in told
    assert keys.matching(references.parse("quay.io/app")) == (BOB,)


def test_one_broken_entry_leaves_the_others() -> None:
    keys = keyring.read([secret({"a.io": {}, "b.io": login(ANN)})])
    assert len(keys.problems) == 1
    assert keys.matching(references.parse("b.io/app")) == (ANN,)


def test_secrets_of_other_types_are_not_looked_into() -> None:
    keys = keyring.read([PullSecret("tls", "kubernetes.io/tls", {".dockerconfigjson": b"x"})])
    assert keys.problems == ()
    assert keys.matching(references.parse("quay.io/app")) == ()


def test_shows_no_secret() -> None:
    shown = repr([Credential("ann", "hunter2", "hunter3"), raw(b"hunter2")])
    assert "ann" in shown
    assert "hunter" not in shown


def test_more_entries_than_anybody_needs_are_told_and_not_read() -> None:
    many = secret({f"*.{number}.example.com": login(BOB) for number in range(1000)}, name="many")
    keys = keyring.read([secret({"a.io": login(ANN)}), many])
    assert keys.matching(references.parse("a.io/app")) == (ANN,)
    assert keys.matching(references.parse("x.998.example.com/app")) == (BOB,)
    assert keys.matching(references.parse("x.999.example.com/app")) == ()
    assert keys.problems == ("the pull secrets have more than 1000 entries; the first 1000 are read",)


def test_no_more_problems_are_told_than_entries_are_read() -> None:
    keys = keyring.read([secret({f"{number}.example.com": {} for number in range(2000)})])
    assert len(keys.problems) == 1001
