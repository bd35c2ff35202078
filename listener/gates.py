"""Who opens a registry's door, by its settings: the only place that knows both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from listener.dialects import DIALECTS
from listener.edges.secrets import Secret, SecretGate
from listener.edges.web import Gate
from listener.errors import SettingsError
from listener.settings import Registry, SecretSource

if TYPE_CHECKING:
    from listener.edges.signers import Fetching, OidcGate, SnsGate

Confirm = Callable[[str], Awaitable[None]]
"""Asks a URL that a sender wants to be asked."""


class Gates:
    """Makes gates. What they fetch for themselves begins with `open`, and ends with its stack."""

    def __init__(self) -> None:
        self._signers: Fetching | None = None
        self._signed: list[OidcGate | SnsGate] = []

    async def open(self, stack: AsyncExitStack) -> None:
        if self._signers:
            await stack.enter_async_context(self._signers)
        for gate in self._signed:
            stack.push_async_callback(gate.close)

    def gate(self, registry: Registry, where: str) -> tuple[Gate, Confirm | None]:
        """Return the gate of a registry, whose `auth` is at `where` in the settings. Raises SettingsError."""
        if registry.auth.oidc or registry.auth.sns:
            return self._signers_gate(registry)
        dialect = DIALECTS.get(registry.dialect)
        try:
            scheme = registry.auth.scheme(dialect.signature if dialect else None)
            source = registry.auth.secret()
        except SettingsError as error:
            raise SettingsError(f"{where}.{error}") from error
        try:
            secret = Secret(file=_path(source), env=source.secret_env) if source else None
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from error
        return SecretGate(registry.name, scheme, secret), None

    def _signers_gate(self, registry: Registry) -> tuple[Gate, Confirm | None]:
        from listener.edges.signers import Fetching, OidcGate, SnsGate  # noqa: PLC0415 - 9 MiB that few need

        self._signers = self._signers or Fetching()
        if oidc := registry.auth.oidc:
            tokens = OidcGate(
                registry.name,
                self._signers,
                issuer=oidc.issuer,
                audience=oidc.audience,
                claims=oidc.claims,
                jwks_uri=oidc.jwks_uri,
            )
            self._signed.append(tokens)
            return tokens, None
        messages = SnsGate(registry.name, self._signers, topics=registry.auth.sns.topics if registry.auth.sns else ())
        self._signed.append(messages)
        return messages, messages.confirm


def _path(source: SecretSource) -> Path | None:
    return Path(source.secret_file) if source.secret_file else None
