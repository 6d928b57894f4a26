"""From a provider's claims to a user of this issuer, as the IdentityProvider maps them. Pure functions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scopewright.core.providers.groups import allowed_names
from scopewright.core.records.identity_provider import ClaimMappings, ClaimPath, IdentityProviderRecord
from scopewright.core.users import subject_of
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.id_token import MAX_SUBJECT
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.upstream.standard_claims import VERIFIED, standard_claims, text

MAX_GROUPS: Final = 200
MAX_GROUP: Final = 256
"""Characters, with the prefix."""
_MAX_NAMES: Final = 10_000
"""Of groups that a provider sends, allowed or not: each is compared with `groups.allow`, and nothing else runs then."""
_MAX_METHODS: Final = 16
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class UpstreamClaims:
    """The claims of a provider about a user. Of a claim in both, that of the ID token counts: it is signed."""

    id_token: Mapping[str, Any]
    userinfo: Mapping[str, Any]

    def at(self, path: ClaimPath) -> Any:
        """The value at a path; None if there is none."""
        value = value_at(self.id_token, path)
        return value_at(self.userinfo, path) if value is None else value

    @property
    def merged(self) -> dict[str, Any]:
        """Both; an address is verified if its own source says so, or both have the same address."""
        merged = {**self.userinfo, **self.id_token}
        for verified, about in VERIFIED.items():
            source = self.id_token if verified in self.id_token else self.userinfo
            if source.get(about) != merged.get(about):
                merged.pop(verified, None)
        return merged


def value_at(claims: Mapping[str, Any], path: ClaimPath) -> Any:
    """Return the value at a path; None if there is none."""
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if path else None


def lacks_mapped_claim(id_token: Mapping[str, Any], mappings: ClaimMappings) -> bool:
    """Whether userinfo may have a claim that is mapped and that the ID token lacks."""
    paths = (mappings.subject, mappings.username, mappings.groups)
    return any(path and value_at(id_token, path) is None for path in paths)


def user_of(record: IdentityProviderRecord, claims: UpstreamClaims, auth_time: int) -> AuthenticatedUser:
    """Raises `LoginRefused` with `subject`, `id_token` or `too_many_groups`."""
    username = text(claims.at(record.claims.username))
    return AuthenticatedUser(
        subject=subject_of(record.subject_domain, _upstream_subject(claims, record.claims)),
        provider=record.name,
        provider_uid=record.uid,
        groups=groups_of(claims, record.claims),
        auth_time=auth_time,
        claims=standard_claims(claims.merged) | ({"preferred_username": username} if username else {}),
        acr=_acr(claims.id_token, record.claims),
        amr=_amr(claims.id_token, record.claims),
    )


def _upstream_subject(claims: UpstreamClaims, mappings: ClaimMappings) -> str:
    value = claims.at(mappings.subject)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT:
        path = ".".join(mappings.subject)
        message = f"the claim {path} must be a number or a text of 1 to {MAX_SUBJECT} characters; check claimMappings"
        raise LoginRefused("subject", message)
    return value


def groups_of(claims: UpstreamClaims, mappings: ClaimMappings) -> tuple[str, ...]:
    """Return the groups that the provider sends and may assign, with the prefix, each once, in its order.

    No such claim means no groups: a provider that has taken the last group of a user sends none. Raises `LoginRefused`
    if there are too many: a list that is cut would be a list of other groups.
    """
    if not mappings.groups:
        return ()
    value = claims.at(mappings.groups)
    if value is None:
        _refuse_groups_elsewhere(claims, mappings.groups[0])
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        path = ".".join(mappings.groups)
        raise LoginRefused("id_token", f"the claim {path} must be a list of names of groups; check claimMappings")
    if len(names) > _MAX_NAMES:
        raise LoginRefused("too_many_groups", f"the provider sends more than {_MAX_NAMES} groups; narrow them there")
    groups = tuple(mappings.groups_prefix + name for name in allowed_names(names, mappings.groups_allow))
    if len(groups) > MAX_GROUPS:
        message = f"the user has {len(groups)} groups, and at most {MAX_GROUPS} are possible; narrow groups.allow"
        raise LoginRefused("too_many_groups", message)
    if any(len(group) > MAX_GROUP or not group or _CONTROL.search(group) for group in groups):
        message = f"a group has not 1 to {MAX_GROUP} characters, or has control characters; narrow groups.allow"
        raise LoginRefused("too_many_groups", message)
    return groups


def _refuse_groups_elsewhere(claims: UpstreamClaims, name: str) -> None:
    """Raise `LoginRefused` if the claim is somewhere else (OpenID Connect Core §5.6.2): Entra ID does so for users with
    more than 200 groups.
    """
    for source in (claims.id_token, claims.userinfo):
        elsewhere = source.get("_claim_names")
        if (isinstance(elsewhere, Mapping) and name in elsewhere) or source.get("hasgroups") is True:
            message = "the provider sends no groups, because the user has too many; narrow them there"
            raise LoginRefused("too_many_groups", message)


def _acr(id_token: Mapping[str, Any], mappings: ClaimMappings) -> str:
    value = id_token.get("acr")
    return value if isinstance(value, str) and value in mappings.acr_allow else ""


def _amr(id_token: Mapping[str, Any], mappings: ClaimMappings) -> tuple[str, ...]:
    """With `acr.allow` only. A list that does not fit is dropped."""
    value = id_token.get("amr")
    if not mappings.acr_allow or not isinstance(value, list) or len(value) > _MAX_METHODS:
        return ()
    return tuple(value) if all(text(method) is not None for method in value) else ()
