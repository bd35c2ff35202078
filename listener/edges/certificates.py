"""X.509: our own CA and serving certificate, what a certificate says, and TLS that changes it without a restart.

Only made and read here; when that is done, and where it is kept, is decided elsewhere. No key gets into a message.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from listener.core import renewal
from listener.core.renewal import Authority, Held, Leaf
from listener.errors import InvalidCertificate

_NAME: Final = "imagestream-listener"
_AUTHORITY_NAME: Final = "imagestream-listener admission CA"

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)

# What the library raises for bytes that are no certificate, or one of a kind that it does not know.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# A file in memory, for a service whose file systems are all read-only; other systems have only the others.
_MEMORY: Final = "/proc/self/fd"
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - the file has a random name and 0600

_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


# What is made


def issue_authority(now: datetime) -> Held:
    """Make a CA. It signs serving certificates only: no further CA below it is believed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(_AUTHORITY_NAME)
    certificate = (
        _builder(name, name, key.public_key(), now - renewal.BACKDATED, now + renewal.AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, SHA256())
    )
    authority = _authority(certificate)
    return Held((authority,), authority, _key_pem(key))


def issue_leaf(held: Held, hosts: Collection[str], now: datetime) -> Leaf:
    """Make a certificate for canonical hosts, by the signer; it does not outlive it."""
    if held.signer is None:
        raise InvalidCertificate("there is no CA to sign with")
    by_key, by = _load_key(held.key), x509.load_pem_x509_certificate(held.signer.certificate)
    if by_key is None:
        raise InvalidCertificate("the CA's key cannot be read")
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(now + renewal.LEAF_LIFE, held.signer.ends)
    certificate = (
        _builder(_name(_NAME), by.subject, key.public_key(), now - renewal.BACKDATED, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_name(host) for host in sorted(hosts)), critical=False)
        .add_extension(_issuer_identifier(by), critical=False)
        .sign(by_key, SHA256())
    )
    return _leaf([certificate], _key_pem(key), held.authorities)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _issuer_identifier(by: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Two CAs of ours have the same name: this tells which of them it was."""
    try:
        found = by.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(_public_key(by))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


# What is read


def read(data: Mapping[str, bytes]) -> Held:
    """Read what a Secret holds; whatever cannot be used counts as absent."""
    authorities = tuple(dict.fromkeys(_authorities(data.get(renewal.BUNDLE, b""))))
    signer = None
    key = _load_key(data.get(renewal.SIGNER_KEY, b""))
    if key is not None:
        public = _public_pem(key.public_key())
        signer = next((each for each in authorities if _public_pem(_public_key(_load(each))) == public), None)
    leaf = None
    with contextlib.suppress(InvalidCertificate):
        leaf = read_leaf(data.get(renewal.LEAF, b""), data.get(renewal.LEAF_KEY, b""), authorities)
    return Held(authorities, signer, _key_pem(key) if key is not None and signer else b"", leaf)


def read_leaf(certificate: bytes, key: bytes, authorities: Iterable[Authority] = ()) -> Leaf:
    """Read a serving certificate, with the chain that may follow it, and its key.

    Raises InvalidCertificate when either cannot be read, or they do not belong together.
    """
    chain = []
    for block in _PEM.findall(certificate):
        try:
            chain.append(x509.load_pem_x509_certificate(block))
        except _UNREADABLE:
            raise InvalidCertificate("it holds a certificate that cannot be read") from None
    if not chain:
        raise InvalidCertificate("it holds no certificate in PEM")
    loaded = _load_key(key)
    if loaded is None:
        raise InvalidCertificate("the key is no EC or RSA key in PEM without a passphrase")
    try:
        is_fit = _public_pem(_public_key(chain[0])) == _public_pem(loaded.public_key())
    except _UNREADABLE:
        is_fit = False
    if not is_fit:
        raise InvalidCertificate("the key does not belong to the certificate")
    try:
        return _leaf(chain, _key_pem(loaded), authorities)
    except _UNREADABLE:
        raise InvalidCertificate("it holds a certificate that cannot be read") from None


def _leaf(chain: list[x509.Certificate], key: bytes, authorities: Iterable[Authority]) -> Leaf:
    first = chain[0]
    return Leaf(
        b"".join(_pem(certificate) for certificate in chain),
        key,
        frozenset(_hosts(first)),
        first.not_valid_before_utc,
        first.not_valid_after_utc,
        next((each for each in authorities if _is_signed_by(first, _load(each))), None),
    )


def _hosts(certificate: x509.Certificate) -> Iterator[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from (name.lower() for name in names.get_values_for_type(x509.DNSName))
    yield from (str(address) for address in names.get_values_for_type(x509.IPAddress))


def _authorities(bundle: bytes) -> Iterator[Authority]:
    for block in _PEM.findall(bundle):
        with contextlib.suppress(*_UNREADABLE, x509.ExtensionNotFound):
            certificate = x509.load_pem_x509_certificate(block)
            _public_key(certificate)
            is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            if is_ca and _is_signed_by(certificate, certificate):  # nobody checks a root's signature for us
                yield _authority(certificate)


def _authority(certificate: x509.Certificate) -> Authority:
    return Authority(_pem(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def _load(authority: Authority) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.certificate)


def _load_key(pem: bytes) -> _PrivateKey | None:
    with contextlib.suppress(*_UNREADABLE):
        key = serialization.load_pem_private_key(pem, password=None)
        if isinstance(key, _PrivateKey):
            return key
    return None


def _public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError("neither EC nor RSA")  # noqa: TRY004 - of the file, not of an argument
    return key


def _public_pem(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Files:
    """A certificate and its key in two files that somebody else renews."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._last: tuple[tuple[bytes, bytes], Leaf] | None = None

    def __str__(self) -> str:
        return f"{self._certificate} and {self._key}"

    def read(self) -> Leaf:
        """The pair as it is now; the same object while nothing changed. Raises InvalidCertificate."""
        found = _content(self._certificate), _content(self._key)
        if self._last is None or self._last[0] != found:
            self._last = found, read_leaf(*found)
        return self._last[1]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidCertificate(f"{file} cannot be read: {error.strerror}") from error


# What is served


class ServingContext:
    """TLS with the certificate that was last given to it. Connections keep the one that they began with."""

    def __init__(self) -> None:
        self.context = _context()
        """For servers, from the start on; before the first `use` every handshake fails."""
        # A session that is taken up again would go on with the certificate that it once saw.
        self.context.options |= ssl.OP_NO_TICKET
        self.context.num_tickets = 0

    def use(self, leaf: Leaf) -> None:
        """Show this certificate in all handshakes from now on. Raises InvalidCertificate, and keeps the other one."""
        # OpenSSL takes the certificate before it looks at the key: a pair that it does not like would leave a mixture.
        _load_chain(_context(), leaf)
        _load_chain(self.context, leaf)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load_chain(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Load a pair, for which the ssl module knows files only."""
    try:
        try:
            with _memory_file(leaf.key + leaf.certificate) as name:
                context.load_cert_chain(name)
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                raise
            with _private_file(leaf.key + leaf.certificate) as name:
                context.load_cert_chain(name)
    except OSError as error:
        why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise InvalidCertificate(f"TLS does not take it: {why}") from None


@contextlib.contextmanager
def _memory_file(content: bytes) -> Iterator[str]:
    if not hasattr(os, "memfd_create"):
        raise OSError("there are no files in memory here")
    descriptor = os.memfd_create(_NAME)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        yield f"{_MEMORY}/{descriptor}"
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _private_file(content: bytes) -> Iterator[str]:
    folder = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(content)
        file.flush()
        yield file.name
