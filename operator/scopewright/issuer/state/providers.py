"""The identity providers, by name, as the operator's records have them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from scopewright.core.failures import Rejected
from scopewright.core.providers.static_users import decode_static_users
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import CA_ENTRY, CLIENT_SECRET_ENTRY, USERS_ENTRY
from scopewright.stores import Entries


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider. Equal ones have the same settings and the same secrets."""

    record: IdentityProviderRecord
    client_secret: str = field(default="", repr=False)
    """Empty: the provider knows the issuer as a public client."""
    ca_certificates: str = ""
    """PEM; empty: those of the system."""
    users: bytes = field(default=b"", repr=False)
    """Static users, as JSON."""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def uid(self) -> str:
        return self.record.uid

    def has_ended_login(self, begun: float) -> bool:
        """Whether `revokedBefore` ends a login that was completed here at this time, in seconds since the epoch."""
        before = self.record.revoked_before
        return before is not None and begun < before.timestamp()


class ProviderIndex:
    """The providers in force."""

    def __init__(self) -> None:
        self._by_name: dict[str, Provider] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._by_name[name] for name in sorted(self._by_name))

    def put(self, provider: Provider) -> None:
        self._by_name[provider.name] = provider

    def remove(self, name: str) -> bool:
        return self._by_name.pop(name, None) is not None

    def by_name(self, name: str) -> Provider | None:
        return self._by_name.get(name)

    def find(self, name: str, uid: str) -> Provider | None:
        """The provider with this name, unless it is another one that was created later under the same name."""
        provider = self._by_name.get(name)
        return provider if provider is not None and provider.uid == uid else None


def load_provider(record: IdentityProviderRecord, entries: Entries) -> Provider:
    """Raises `Rejected` if an entry is not text, or if static users cannot be read."""
    try:
        secret, certificates = (entries.get(name, b"").decode("utf-8") for name in (CLIENT_SECRET_ENTRY, CA_ENTRY))
    except UnicodeDecodeError:
        raise Rejected("MalformedRecord", "an entry is not UTF-8 text") from None
    users = entries.get(USERS_ENTRY, b"")
    if record.oidc is None:
        decode_static_users(users)
    return Provider(record, secret, certificates, users)
