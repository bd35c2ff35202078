"""Our CA and certificate, as OpenSSL and TLS over loopback see them; and whatever else may lie in a Secret."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.core.renewal import AUTHORITY_LIFE, BACKDATED, LEAF_LIFE, Held, Leaf
from listener.edges import certificates
from listener.edges.certificates import Files, ServingContext, issue_authority, issue_leaf, read, read_leaf
from listener.errors import InvalidCertificate

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = ("listener.ns.svc", "listener.ns.svc.cluster.local", "127.0.0.1", "::1", "localhost")


def made(*hosts: str, now: datetime = NOW) -> Held:
    authority = issue_authority(now)
    return replace(authority, leaf=issue_leaf(authority, hosts or HOSTS, now))


def leaf_of(held: Held) -> Leaf:
    assert held.leaf is not None
    return held.leaf


# What is made


def test_what_was_made_is_read_back() -> None:
    held = made()
    assert read(held.data()) == held
    [authority] = held.authorities
    assert held.signer == authority == leaf_of(held).authority
    assert (authority.begins, authority.ends) == (NOW - BACKDATED, NOW + AUTHORITY_LIFE)
    assert (leaf_of(held).begins, leaf_of(held).ends) == (NOW - BACKDATED, NOW + LEAF_LIFE)
    assert leaf_of(held).hosts == set(HOSTS)


def test_a_certificate_does_not_outlive_its_ca() -> None:
    authority = issue_authority(NOW - AUTHORITY_LIFE + timedelta(days=1))
    assert issue_leaf(authority, HOSTS, NOW).ends == authority.authorities[0].ends


def test_by_which_of_two_cas_of_one_name_a_certificate_is() -> None:
    old, new = made(), made()
    both = replace(new, authorities=new.authorities + old.authorities, leaf=old.leaf)
    found = read(both.data())
    assert found == both
    assert leaf_of(found).authority == old.authorities[0]
    assert leaf_of(read(new.data() | {"ca.crt": old.bundle})).authority is None


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_takes_it_for_a_server_and_for_nothing_else(tmp_path: Path, purpose: str) -> None:
    held = made()
    (tmp_path / "ca.pem").write_bytes(held.bundle)
    (tmp_path / "leaf.pem").write_bytes(leaf_of(held).certificate)
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem"]
    names = ["-verify_hostname", "listener.ns.svc"] if purpose == "sslserver" else []
    found = subprocess.run([*command, *names, "leaf.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.returncode == 0) == (purpose == "sslserver"), found.stderr


def test_the_ca_believes_in_no_ca_below_it(tmp_path: Path) -> None:
    held = made()
    (tmp_path / "ca.pem").write_bytes(held.bundle)
    told = subprocess.run(
        ["openssl", "x509", "-in", "ca.pem", "-noout", "-subject", "-ext", "basicConstraints,keyUsage"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "imagestream-listener" in told
    assert "CA:TRUE, pathlen:0" in told
    assert "Certificate Sign, CRL Sign" in told


def test_nobody_signs_without_a_key() -> None:
    held = issue_authority(NOW)
    for broken in (replace(held, signer=None), replace(held, key=b"garbage")):
        with pytest.raises(InvalidCertificate):
            issue_leaf(broken, HOSTS, NOW)


# What is read


def test_what_cannot_be_used_counts_as_absent() -> None:
    held, other = made(), made()
    data = held.data()
    absent = Held(held.authorities, held.signer, held.key)
    assert read({}) == Held()
    assert read(data | {"ca.crt": b""}) == replace(Held(), leaf=replace(leaf_of(held), authority=None))
    assert read(data | {"ca.crt": leaf_of(held).certificate}).authorities == ()
    assert read(data | {"ca.crt": _forged(held.bundle)}).authorities == ()
    assert read(data | {"ca.crt": b"# ours\n" + held.bundle + b"garbage" + held.bundle}) == held
    assert read(data | {"ca.key": other.key}) == replace(held, signer=None, key=b"")
    assert read(data | {"ca.key": b"garbage"}) == replace(held, signer=None, key=b"")
    assert read(data | {"tls.crt": b"garbage"}) == absent
    assert read(data | {"tls.key": leaf_of(other).key}) == absent
    assert (
        leaf_of(read(data | {"tls.crt": leaf_of(other).certificate, "tls.key": leaf_of(other).key})).authority is None
    )


def _forged(bundle: bytes) -> bytes:
    """A CA that promises more than it signed for."""
    content = ssl.PEM_cert_to_DER_cert(bundle.decode())
    assert content.count(b"imagestream-listener") == 2
    return ssl.DER_cert_to_PEM_cert(content.replace(b"imagestream-listener", b"imagestream-listene_")).encode()


CUT = made()


@settings(deadline=None)
@given(st.sampled_from(sorted(CUT.data())), st.integers(0, 2000), st.binary(max_size=8))
def test_no_damage_is_more_than_damage(key: str, at: int, put: bytes) -> None:
    data = CUT.data()
    found = read(data | {key: data[key][:at] + put + data[key][at + len(put) :]})
    assert set(found.authorities) <= set(CUT.authorities)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(CUT.data())), st.binary()))
def test_garbage_is_nothing(data: dict[str, bytes]) -> None:
    assert read(data) == Held()


def test_certificates_of_others_are_read_with_their_chain(ca: trustme.CA) -> None:
    child = ca.create_child_ca()
    issued = child.issue_cert("Web.Example", "10.0.0.1", key_type=trustme.KeyType.RSA)
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    found = read_leaf(chain, issued.private_key_pem.bytes())
    assert found.hosts == {"web.example", "10.0.0.1"}
    assert found.authority is None
    assert found.certificate.count(b"BEGIN") == 2


# What is served


@asynccontextmanager
async def server(serving: ServingContext, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Echoes lines."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    running = await asyncio.start_server(echo, host, 0, ssl=serving.context)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        await asyncio.sleep(0)


def believes(bundle: bytes, **limits: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=bundle.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for name, version in limits.items():
        setattr(context, name, version)
    return context


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls, port: int, context: ssl.SSLContext, name: str = "listener.ns.svc", host: str = "127.0.0.1"
    ) -> Connection:
        return cls(*await asyncio.open_connection(host, port, ssl=context, server_hostname=name))

    @property
    def certificate(self) -> bytes:
        return ssl.DER_cert_to_PEM_cert(self._writer.get_extra_info("ssl_object").getpeercert(True)).encode()

    async def echo(self) -> bool:
        self._writer.write(b"hello\n")
        return await asyncio.wait_for(self._reader.readline(), 5) == b"hello\n"

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.mark.parametrize("name", ["listener.ns.svc", "127.0.0.1", "::1"])
async def test_who_has_the_bundle_believes_every_host(name: str) -> None:
    held, serving = made(), ServingContext()
    serving.use(leaf_of(held))
    async with server(serving) as port:
        connection = await Connection.open(port, believes(held.bundle), name)
        assert await connection.echo()
        assert connection.certificate == leaf_of(held).certificate
        await connection.close()
        for bundle, host in ((held.bundle, "other.ns.svc"), (made().bundle, name)):
            with pytest.raises(ssl.SSLCertVerificationError):
                await Connection.open(port, believes(bundle), host)


async def test_a_new_certificate_is_shown_at_once_and_connections_go_on() -> None:
    held, serving = made(), ServingContext()
    serving.use(leaf_of(held))
    context = believes(held.bundle)
    async with server(serving) as port:
        old = await Connection.open(port, context)
        assert await old.echo()
        renewed = issue_leaf(held, HOSTS, NOW)
        serving.use(renewed)
        new = await Connection.open(port, context)
        assert await old.echo()
        assert await new.echo()
        assert (old.certificate, new.certificate) == (leaf_of(held).certificate, renewed.certificate)
        await old.close()
        await new.close()


async def test_both_certificates_of_a_change_of_ca_are_believed() -> None:
    old, new, serving = made(), made(), ServingContext()
    context = believes(new.bundle + old.bundle)
    async with server(serving) as port:
        for held in (old, new):
            serving.use(leaf_of(held))
            connection = await Connection.open(port, context)
            assert connection.certificate == leaf_of(held).certificate
            await connection.close()


async def test_before_there_is_a_certificate_no_handshake_succeeds_and_later_all_do() -> None:
    held, serving = made(), ServingContext()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with server(serving) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Connection.open(port, believes(held.bundle))
        serving.use(leaf_of(held))
        connection = await Connection.open(port, believes(held.bundle))
        assert await connection.echo()
        await connection.close()


async def test_old_versions_of_tls_are_not_spoken() -> None:
    held, serving = made(), ServingContext()
    serving.use(leaf_of(held))
    assert serving.context.minimum_version is ssl.TLSVersion.TLSv1_2
    async with server(serving) as port:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = believes(held.bundle, minimum_version=version, maximum_version=version)
            connection = await Connection.open(port, context)
            assert await connection.echo()
            await connection.close()


async def test_what_tls_does_not_take_leaves_the_other_in_use() -> None:
    held, serving = made(), ServingContext()
    serving.use(leaf_of(held))
    for broken in (
        replace(leaf_of(held), key=leaf_of(made()).key),
        replace(leaf_of(made()), certificate=b"garbage"),
        replace(leaf_of(made()), key=b""),
    ):
        with pytest.raises(InvalidCertificate) as caught:
            serving.use(broken)
        assert "PRIVATE" not in str(caught.value)
    async with server(serving) as port:
        connection = await Connection.open(port, believes(held.bundle))
        assert await connection.echo()
        await connection.close()


@pytest.mark.parametrize("memory", ["none", "closed"])
async def test_without_files_in_memory_a_private_one_is_removed_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: str
) -> None:
    if memory == "none":
        monkeypatch.delattr(os, "memfd_create")
    else:
        monkeypatch.setattr(certificates, "_MEMORY", "/not-there")
    monkeypatch.setattr(certificates, "_SHARED_MEMORY", str(tmp_path))
    held, serving = made(), ServingContext()
    serving.use(leaf_of(held))
    assert list(tmp_path.iterdir()) == []
    async with server(serving) as port:
        await (await Connection.open(port, believes(held.bundle))).close()


async def test_no_file_system_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    serving = ServingContext()
    for _ in range(3):
        serving.use(leaf_of(made()))
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1


# Files of others


def write(folder: Path, leaf: Leaf) -> tuple[Path, Path]:
    files = folder / "tls.crt", folder / "tls.key"
    files[0].write_bytes(leaf.certificate)
    files[1].write_bytes(leaf.key)
    return files


def test_files_are_read_when_they_change(tmp_path: Path) -> None:
    first, second = leaf_of(made()), leaf_of(made())
    files = Files(*write(tmp_path, first))
    found = files.read()
    assert (found.certificate, found.key, found.hosts) == (first.certificate, first.key, first.hosts)
    assert files.read() is found
    write(tmp_path, second)
    assert files.read().certificate == second.certificate


def test_a_half_written_pair_is_refused_until_it_is_whole(tmp_path: Path) -> None:
    first, second = leaf_of(made()), leaf_of(made())
    files = Files(*write(tmp_path, first))
    write(tmp_path, replace(second, key=first.key))
    with pytest.raises(InvalidCertificate, match="the key does not belong to the certificate"):
        files.read()
    write(tmp_path, replace(second, certificate=second.certificate[:100]))
    with pytest.raises(InvalidCertificate, match="no certificate in PEM"):
        files.read()
    (tmp_path / "tls.key").unlink()
    with pytest.raises(InvalidCertificate, match=r"tls\.key cannot be read: No such file"):
        files.read()
    write(tmp_path, second)
    assert files.read().certificate == second.certificate
