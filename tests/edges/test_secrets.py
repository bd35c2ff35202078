"""Secrets change under us, and are never seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from listener.core.authentication import Bearer, Open, Query, Scheme, Signature, credentials
from listener.core.events import Delivery
from listener.edges.secrets import Secret, SecretGate
from listener.errors import SettingsError, Unauthenticated


def mount(volume: Path, generation: str, value: str) -> None:
    """Do what a kubelet does: write a new directory, then rename a link to it over the old link."""
    data = volume / f"..{generation}"
    data.mkdir()
    (data / "team").write_text(value)
    new = volume / "..data_tmp"
    new.symlink_to(data.name)
    new.rename(volume / "..data")
    if not (volume / "team").is_symlink():
        (volume / "team").symlink_to("..data/team")


def test_a_rotation_as_kubernetes_does_it_needs_no_restart(tmp_path: Path) -> None:
    mount(tmp_path, "2026_01", "first")
    secret = Secret(file=tmp_path / "team")
    assert secret.values() == (b"first",)
    mount(tmp_path, "2026_02", "other")  # as long as the first one
    assert secret.values() == (b"other",)


def test_a_file_written_in_place_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "team"
    file.write_text("first")
    secret = Secret(file=file)
    file.write_text("second, and longer")
    assert secret.values() == (b"second, and longer",)


def test_an_empty_file_keeps_the_last_value_until_there_is_another(tmp_path: Path) -> None:
    file = tmp_path / "team"
    file.write_text("first")
    secret = Secret(file=file)
    file.write_text("")
    assert secret.values() == (b"first",)
    file.write_text("second")
    assert secret.values() == (b"second",)


def test_a_vanished_file_keeps_the_last_value_and_is_told(tmp_path: Path) -> None:
    file = tmp_path / "team"
    file.write_text("zebra")
    secret = Secret(file=file)
    file.unlink()
    with capture_logs() as logs:
        assert secret.values() == (b"zebra",)
    assert [line["event"] for line in logs] == ["secret.unreadable"]
    assert "zebra" not in repr(logs)


@pytest.mark.parametrize("text", ["zebra", "zebra\n", "zebra\r\n"])
def test_the_newline_that_editors_add_is_no_part_of_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "team"
    file.write_bytes(text.encode())
    assert Secret(file=file).values() == (b"zebra",)


def test_blanks_are_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "team"
    file.write_text(" zebra \n")
    assert Secret(file=file).values() == (b" zebra ",)


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_SECRET", "zebra")
    assert Secret(env="TEAM_SECRET").values() == (b"zebra",)


def test_bytes_of_the_environment_that_are_no_text_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_SECRET", b"\xff\xfe".decode(errors="surrogateescape"))
    assert Secret(env="TEAM_SECRET").values() == (b"\xff\xfe",)


@pytest.mark.parametrize("content", [None, "", "\n"], ids=["missing", "empty", "newline only"])
def test_a_file_without_a_secret_stops_the_start_and_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "team"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=f"secretFile {file}"):
        Secret(file=file)


@pytest.mark.parametrize("value", [None, ""], ids=["not set", "empty"])
def test_a_variable_without_a_secret_stops_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("TEAM_SECRET", raising=False)
    else:
        monkeypatch.setenv("TEAM_SECRET", value)
    with pytest.raises(SettingsError, match="secretEnv TEAM_SECRET"):
        Secret(env="TEAM_SECRET")


def test_it_is_not_seen_when_it_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "team"
    file.write_text("zebra")
    secret = Secret(file=file)
    assert "zebra" not in f"{secret} {secret!r}"


# Several at once


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        pytest.param("old\nnew\n", (b"old", b"new"), id="one a line"),
        pytest.param("old\r\nnew\r\n", (b"old", b"new"), id="lines as on Windows"),
        pytest.param("\n\nold\n\n\nnew", (b"old", b"new"), id="empty lines"),
        pytest.param(" old \n\tnew\n", (b" old ", b"\tnew"), id="blanks are part of them"),
        pytest.param("o\x0bl\x0cd\u2028x\n", ("o\x0bl\x0cd\u2028x".encode(),), id="what is no end of a line"),
    ],
)
def test_a_file_or_a_variable_may_hold_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, secrets: tuple[bytes, ...]
) -> None:
    (tmp_path / "team").write_bytes(text.encode())
    monkeypatch.setenv("TEAM_SECRET", text)
    assert Secret(file=tmp_path / "team").values() == secrets
    assert Secret(env="TEAM_SECRET").values() == secrets


async def is_admitted(gate: SecretGate, scheme: Scheme, secret: bytes) -> bool:
    body = b"{}"
    try:
        await gate.admit(Delivery(*credentials(scheme, secret, body), body))
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize(
    "scheme", [Bearer(), Query("secret"), Signature("x-signature")], ids=lambda s: type(s).__name__
)
async def test_a_rotation_refuses_nobody(tmp_path: Path, scheme: Scheme) -> None:
    """The steps of an operator: the old secret, both, then the new one, while the gate stays open."""
    mount(tmp_path, "1", "old\n")
    gate = SecretGate("team", scheme, Secret(file=tmp_path / "team"))

    async def opens() -> tuple[bool, bool]:
        return await is_admitted(gate, scheme, b"old"), await is_admitted(gate, scheme, b"new")

    assert await opens() == (True, False)
    mount(tmp_path, "2", "old\nnew\n")
    assert await opens() == (True, True)
    mount(tmp_path, "3", "new\n")
    assert await opens() == (False, True)


async def test_who_is_refused_is_told_what_is_asked_for_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "team").write_text("zebra")
    gate = SecretGate("team", Bearer(), Secret(file=tmp_path / "team"))
    with pytest.raises(Unauthenticated) as caught:
        await gate.admit(Delivery({"authorization": "Bearer giraffe"}, {}, b""))
    assert str(caught.value) == (
        "the delivery does not carry the secret of registry 'team':"
        " expected the header Authorization with a bearer token; found another"
    )


async def test_an_open_door_is_open() -> None:
    await SecretGate("team", Open(), None).admit(Delivery({}, {}, b""))
