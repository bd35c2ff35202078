"""A token server whose tokens docker-registry believes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.edges.fake_registry import TokenServer, login

_ISSUER, _SERVICE = "the-issuer", "the-registry"


@dataclass
class SigningTokenServer(TokenServer):
    """A token server whose tokens docker-registry believes: ES256, with the certificate of the key beside it."""

    certificate: trustme.LeafCert | None = None
    issued: list[str] = field(default_factory=list)

    def auth(self, ca_file: Path) -> Mapping[str, object]:
        """The registry's own setting, `auth`. `ca_file` holds the CA of our certificate."""
        return {
            "token": {
                "realm": f"{self.url}/token",
                "service": _SERVICE,
                "issuer": _ISSUER,
                "rootcertbundle": str(ca_file),
            }
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        authorization = request.headers.get("Authorization", "")
        users = [name for name, password in self.logins.items() if login(name, password) == authorization]
        if authorization and not users:
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        access: list[dict[str, object]] = []
        if users:
            for scope in request.query.getall("scope", []):
                kind, name, actions = scope.split(":")
                access.append({"type": kind, "name": name, "actions": actions.split(",")})
        token = self._sign(access)
        self.issued.append(token)
        return web.json_response({"token": token, "expires_in": 300})

    def _sign(self, access: list[dict[str, object]]) -> str:
        assert self.certificate is not None
        key = serialization.load_pem_private_key(self.certificate.private_key_pem.bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        pem = self.certificate.cert_chain_pems[0].bytes()
        der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
        now = int(time.time())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": _ISSUER,
            "sub": "",
            "aud": _SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": "1",
            "access": access,
        }
        signed = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(key.sign(signed, ECDSA(hashes.SHA256())))
        return (signed + b"." + _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
