"""The users of static providers, as the records have them."""

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

from scopewright.bounded import BoundedDict
from scopewright.core.providers.groups import allowed_names
from scopewright.core.providers.password_hash import DEFAULT_PARAMETERS, parse_password_hash
from scopewright.core.providers.static_users import StaticUser, decode_static_users
from scopewright.core.records.identity_provider import ClaimMappings
from scopewright.core.users import subject_of
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser

_MAX_PROVIDERS: Final = 64
"""Whose users stay parsed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whose password is checked. An unknown user has the hash of no password."""

    user: StaticUser | None
    password_hash: str = field(repr=False)


class ParsedUsers:
    """The users in one version of a provider and its record."""

    def __init__(self, provider: Provider) -> None:
        """Raises `Rejected` with MalformedRecord."""
        users = decode_static_users(provider.users)
        domain = provider.record.subject_domain
        self.provider: Final = provider
        self._by_login: Final = {user.login_key: user for user in users}
        self._by_subject: Final = {subject_of(domain, user.id): user for user in users}
        self._parameters: Final = [parse_password_hash(user.password_hash) for user in users] or [DEFAULT_PARAMETERS]
        self._secret: Final = hashlib.sha256(provider.users).digest()  # the same in each process
        self._groups: Final[dict[str, tuple[str, ...]]] = {}

    def candidate(self, login_key: str) -> Candidate:
        """Return the user, by `name_key` of the typed name, with a hash: checking it costs as much for any name."""
        decoy = self._decoy(login_key)
        user = self._by_login.get(login_key)
        return Candidate(user, decoy if user is None else user.password_hash)

    def by_subject(self, subject: str) -> StaticUser | None:
        """Return the user with this `sub`."""
        return self._by_subject.get(subject)

    def authenticated(self, user: StaticUser, auth_time: int) -> AuthenticatedUser:
        """Return the user with the groups that the record allows. `auth_time` is in seconds since the epoch."""
        groups = self._groups.get(user.id)
        if groups is None:
            groups = self._groups[user.id] = _allowed_groups(user, self.provider.record.claims)
        return AuthenticatedUser(
            subject=subject_of(self.provider.record.subject_domain, user.id),
            provider=self.provider.name,
            provider_uid=self.provider.uid,
            groups=groups,
            auth_time=auth_time,
            claims=user.claims(),
        )

    def _decoy(self, login_key: str) -> str:
        """Return a random hash with the parameters of one of the users, the same one each time for the same name."""
        digest = hashlib.blake2b(login_key.encode("utf-8", "surrogatepass"), key=self._secret).digest()
        parameters = self._parameters[int.from_bytes(digest[:8], "big") % len(self._parameters)]
        return parameters.encoded(secrets.token_bytes(parameters.salt), secrets.token_bytes(parameters.hash))


def _allowed_groups(user: StaticUser, claims: ClaimMappings) -> tuple[str, ...]:
    return tuple(claims.groups_prefix + group for group in allowed_names(user.groups, claims.groups_allow))


class StaticUsers:
    """Parses the users of each version of a record once."""

    def __init__(self) -> None:
        self._parsed = BoundedDict[str, ParsedUsers](_MAX_PROVIDERS)

    def of(self, provider: Provider) -> ParsedUsers:
        """Raises `Rejected` with MalformedRecord."""
        parsed = self._parsed.get(provider.uid)
        if parsed is None or parsed.provider != provider:
            parsed = self._parsed[provider.uid] = ParsedUsers(provider)
        return parsed
