"""The clients, by id and by ServiceAccount."""

from collections.abc import Iterator

from scopewright.issuer.state.entries import Client


class ClientIndex:
    def __init__(self) -> None:
        self._by_id: dict[str, Client] = {}
        self._ids_by_account: dict[tuple[str, str, str], set[str]] = {}
        """By cluster, namespace and name of the ServiceAccount."""

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
        return before

    def remove(self, client_id: str) -> Client | None:
        client = self._by_id.pop(client_id, None)
        if client and (account := _account(client)):
            self._ids_by_account[account].discard(client_id)
            if not self._ids_by_account[account]:
                del self._ids_by_account[account]
        return client

    def ids_of_account(self, cluster: str, namespace: str, name: str) -> tuple[str, ...]:
        return tuple(self._ids_by_account.get((cluster, namespace, name), ()))

    def credentials(self) -> Iterator[bytes]:
        """The SHA-256 of every credential in a record."""
        for client in self:
            yield client.identity
            yield from (digest for digest, _ in client.credentials)
            yield from (key.digest for key in client.keys)


def _account(client: Client) -> tuple[str, str, str] | None:
    account = client.service_account
    return (account.cluster, client.namespace, account.name) if account else None
