"""Changes of identity providers: whose users log in through which applications, and which groups they may be in."""

from collections.abc import Iterator
from typing import Final

from scopewright.core.objects import Ref
from scopewright.core.providers.groups import is_allowed
from scopewright.core.records.client import Login
from scopewright.core.records.fields import rfc3339
from scopewright.core.records.identity_provider import ClaimMappings, ClaimPath, IdentityProviderRecord, UpstreamClient
from scopewright.core.users import quoted_group
from scopewright.plan.changes import ObjectChange
from scopewright.plan.snapshot import StateSnapshot

_ENDS: Final = "its users cannot log in any more, and their sessions and refresh tokens end"


def provider_changes(before: StateSnapshot, after: StateSnapshot) -> Iterator[ObjectChange]:
    """Compare the records: a provider that is refused has none, or keeps its last one."""
    for name in sorted(before.providers.keys() | after.providers.keys()):
        ref = Ref("IdentityProvider", after.namespace, name)
        old, new = before.providers.get(name), after.providers.get(name)
        if old is None and new is not None:
            yield ObjectChange(ref, "made", "; ".join(_described(new, after)))
        elif old is not None and new is None:
            lost = _listed(_applications(name, before)) or "no application"
            yield ObjectChange(ref, "deleted", f"{_ENDS}: they logged in through {lost}")
        elif old is not None and new is not None:
            details = [*_differences(old, new, before, after), *_applications_changed(name, before, after)]
            if details:
                yield ObjectChange(ref, "changed", "; ".join(details))


def _described(new: IdentityProviderRecord, after: StateSnapshot) -> Iterator[str]:
    through = _listed(_applications(new.name, after)) or "no application yet"
    yield f"{_users(new)} log in through {through}"
    if new.oidc:
        yield f"subjects are from {_path(new.claims.subject)}"
    yield f"it may assign {_groups(new)}"
    if covered := _named_groups(after, new):
        yield f"its users can be in {_listed(covered)}, which a ScopeGrant or login names"
    if new.oidc is None or new.subject_domain != new.oidc.issuer_url:
        yield f"the subject domain is {new.subject_domain}"
    if new.oidc and new.oidc.reauthentication == "Trusted":
        yield _REAUTHENTICATION["Trusted"]
    if new.claims.acr_allow:
        yield f"acr {', '.join(new.claims.acr_allow)} reaches tokens"


_REAUTHENTICATION: Final = {
    "Trusted": "a fresh login is not verified: the provider is trusted to ask again",
    "Verified": "a fresh login is verified by auth_time",
}


def _differences(
    old: IdentityProviderRecord, new: IdentityProviderRecord, before: StateSnapshot, after: StateSnapshot
) -> Iterator[str]:
    if _users(old) != _users(new):
        yield f"{_users(new)} log in, before {_users(old)}"
        subject = _path(new.claims.subject) if new.oidc else "the id"
        yield f"the subject domain stays {new.subject_domain}: who has {subject} of an earlier user is that user"
    if old.oidc and new.oidc:
        yield from _client_differences(old.oidc, new.oidc)
    if old.claims.username != new.claims.username:
        yield f"user names are from {_path(new.claims.username)}, before from {_path(old.claims.username)}"
    if _groups(old) != _groups(new):
        yield f"it may assign {_groups(new)}, before {_groups(old)}"
        if gained := [g for g in _named_groups(after, new) if not _covers(old.claims, g)]:
            yield f"its users can now be in {_listed(gained)}, which a ScopeGrant or login names"
        if lost := [g for g in _named_groups(before, old) if not _covers(new.claims, g)]:
            yield f"its users cannot be in {_listed(lost)} any more"
    if old.claims.acr_allow != new.claims.acr_allow:
        yield f"acr {', '.join(new.claims.acr_allow) or 'of no value'} reaches tokens"
    yield from _time_differences(old, new)


def _time_differences(old: IdentityProviderRecord, new: IdentityProviderRecord) -> Iterator[str]:
    if new.revoked_before and old.revoked_before != new.revoked_before:
        ends = "their sessions, refresh tokens and access tokens"
        yield f"logins of its users before {rfc3339(new.revoked_before)} end, with {ends}"
    for what, was, is_now in (
        ("the provider is asked about a user every", old.check_interval, new.check_interval),
        ("a user keeps access while the provider is away for", old.check_max_age, new.check_max_age),
    ):
        if was != is_now:
            yield f"{what} {is_now} s, before {was} s"


def _client_differences(old: UpstreamClient, new: UpstreamClient) -> Iterator[str]:
    if old.client_id != new.client_id:
        yield f"the issuer is its client {new.client_id}, before {old.client_id}"
    if old.reauthentication != new.reauthentication:
        yield _REAUTHENTICATION[new.reauthentication]
    if added := [name for name in new.signing_algorithms if name not in old.signing_algorithms]:
        yield f"ID tokens may be signed with {', '.join(added)} too"


def _applications_changed(name: str, before: StateSnapshot, after: StateSnapshot) -> Iterator[str]:
    """Those whose login is as before: they name no provider, and whether this is the only one has changed."""
    had, has = _applications(name, before), _applications(name, after)
    unchanged = {client for client in {*had, *has} if _login(client, before) == _login(client, after)}
    if gained := [client for client in has if client not in had and client in unchanged]:
        yield f"its users may now log in through {_listed(gained)}, as the only identity provider"
    if lost := [client for client in had if client not in has and client in unchanged]:
        yield f"its users cannot log in through {_listed(lost)} any more, as it is not the only identity provider"


def _login(client: str, snapshot: StateSnapshot) -> Login | None:
    record = snapshot.clients.get(Ref("OAuthClient", *client.split("/")))
    return record.login if record else None


def _applications(name: str, snapshot: StateSnapshot) -> list[str]:
    """The clients (`<namespace>/<name>`) through which its users may log in. One that names none has the only one."""
    return [
        f"{ref.namespace}/{ref.name}"
        for ref, client in sorted(snapshot.clients.items())
        if client.login and not client.refused
        if name in client.login.identity_providers
        or (not client.login.identity_providers and snapshot.providers.keys() == {name})
    ]


def _named_groups(snapshot: StateSnapshot, provider: IdentityProviderRecord) -> list[str]:
    """The groups that a grant or a login names, and that the provider may assign."""
    groups = {g for server in snapshot.servers.values() for grant in server.user_grants for g in grant.groups}
    groups |= {g for c in snapshot.clients.values() if c.login for g in c.login.allowed_groups or ()}
    return sorted(group for group in groups if _covers(provider.claims, group))


def _covers(claims: ClaimMappings, group: str) -> bool:
    prefix = claims.groups_prefix
    return group.startswith(prefix) and is_allowed(group.removeprefix(prefix), claims.groups_allow)


def _users(record: IdentityProviderRecord) -> str:
    return f"users of {record.oidc.issuer_url}" if record.oidc else "static users"


def _groups(record: IdentityProviderRecord) -> str:
    claims = record.claims
    if not claims.groups_allow:
        return "no group" if record.oidc else "the groups that its Secret lists"
    listed = _listed([claims.groups_prefix + entry for entry in claims.groups_allow])
    return f"the groups {listed}" + (f" from {_path(claims.groups)}" if claims.groups else "")


def _path(path: ClaimPath) -> str:
    return f"the claim {'.'.join(path)}"


def _listed(names: list[str]) -> str:
    return ", ".join(map(quoted_group, names))
