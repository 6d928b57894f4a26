"""The clients, by id and by ServiceAccount, and the origins of their redirect URIs."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from scopewright.api.redirect_uris import redirect_kind, redirect_origin
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.recognised import RecognisedCredentials

_PORT: Final = re.compile(r":[0-9]+$")
_ANY_PORT: Final = ":*"


class ClientIndex:
    def __init__(self) -> None:
        self._by_id: dict[str, Client] = {}
        self._ids_by_account: dict[tuple[str, str, str], set[str]] = {}
        """By cluster, namespace and name of the ServiceAccount."""
        self._origins: Counter[str] = Counter()
        self.recognised = RecognisedCredentials(self._by_id.get)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(self._by_id.values())

    def ids(self) -> list[str]:
        return [*self._by_id]

    def get(self, client_id: str) -> Client | None:
        return self._by_id.get(client_id)

    def put(self, client: Client) -> Client | None:
        """Returns the client that it replaces."""
        before = self.remove(client.client_id)
        self._by_id[client.client_id] = client
        if account := _account(client):
            self._ids_by_account.setdefault(account, set()).add(client.client_id)
        if client.login:
            self._origins.update(_origins(client))
        return before

    def remove(self, client_id: str) -> Client | None:
        client = self._by_id.pop(client_id, None)
        if client:
            self.recognised.forget(client)
        if client and (account := _account(client)):
            self._ids_by_account[account].discard(client_id)
            if not self._ids_by_account[account]:
                del self._ids_by_account[account]
        if client and client.login:
            for origin in _origins(client):
                self._origins[origin] -= 1
                if not self._origins[origin]:
                    del self._origins[origin]
        return client

    def ids_of_account(self, cluster: str, namespace: str, name: str) -> tuple[str, ...]:
        return tuple(self._ids_by_account.get((cluster, namespace, name), ()))

    def has_origin(self, origin: str) -> bool:
        """Whether a client has a redirect URI of this origin (https or loopback), as browsers spell it."""
        return origin in self._origins or _PORT.sub("", origin) + _ANY_PORT in self._origins

    def credentials(self) -> Iterator[bytes]:
        """The SHA-256 of every credential in a record."""
        for client in self:
            yield client.identity
            yield from (digest for digest, _ in client.credentials)
            yield from (key.digest for key in client.keys)


def _account(client: Client) -> tuple[str, str, str] | None:
    account = client.service_account
    return (account.cluster, client.namespace, account.name) if account else None


def _origins(client: Client) -> set[str]:
    """Those of its redirect URIs. The port of a loopback URI of a public client stands for every port."""
    origins = set()
    for uri in client.login.redirect_uris if client.login else ():
        kind = redirect_kind(uri)
        if kind == "https" or kind == "loopback":
            origin = redirect_origin(uri)
            origins.add(_PORT.sub("", origin) + _ANY_PORT if client.public and kind == "loopback" else origin)
    return origins
