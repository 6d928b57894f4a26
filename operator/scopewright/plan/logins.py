"""Changes of the login of users through clients: where they return to, who may log in, and whether they are asked."""

from collections.abc import Iterator, Mapping

from scopewright.core.objects import Ref
from scopewright.core.records.client import ClientRecord, Login
from scopewright.plan.changes import ObjectChange


def login_changes(before: Mapping[Ref, ClientRecord], after: Mapping[Ref, ClientRecord]) -> Iterator[ObjectChange]:
    """Compare what the records have: what the platform does not allow is not in them."""
    for ref in sorted(before.keys() | after.keys()):
        old, new = _login_of(before.get(ref)), _login_of(after.get(ref))
        if old is None and new is not None:
            yield ObjectChange(ref, "made", "; ".join(_described(new)))
        elif old is not None and new is None:
            yield ObjectChange(ref, "deleted", "no user logs in through it, and their refresh tokens end")
        elif old is not None and new is not None and (details := [*_differences(old, new)]):
            yield ObjectChange(ref, "changed", "; ".join(details))


def _login_of(client: ClientRecord | None) -> Login | None:
    return client.login if client else None


def _described(login: Login) -> Iterator[str]:
    """What a reviewer wants to know of a new login: defaults are not mentioned."""
    yield f"users return to {', '.join(login.redirect_uris)}"
    if login.post_logout_redirect_uris:
        yield f"after a logout to {', '.join(login.post_logout_redirect_uris)}"
    yield from _differences(Login(login.redirect_uris, login.post_logout_redirect_uris), login)


def _differences(old: Login, new: Login) -> Iterator[str]:
    yield from _uris("redirect URI", old.redirect_uris, new.redirect_uris)
    yield from _uris("post-logout redirect URI", old.post_logout_redirect_uris, new.post_logout_redirect_uris)
    if old.identity_providers != new.identity_providers:
        yield f"users of {', '.join(new.identity_providers) or 'the only identity provider'} may log in"
    if old.allowed_groups != new.allowed_groups:
        yield f"{_groups(new)} may log in" + (f", before {_groups(old)}" if old.allowed_groups is not None else "")
    if old.consent != new.consent:
        yield "users are not asked for their consent" if new.consent == "Skip" else "users are asked for their consent"
    if old.pkce_required != new.pkce_required:
        yield "PKCE is required" if new.pkce_required else "PKCE is not required"
    if old.pushed_requests_required != new.pushed_requests_required:
        yield f"pushed requests are {'required' if new.pushed_requests_required else 'not required'}"
    for what, before, after in (
        ("without a refresh", old.refresh_idle_timeout, new.refresh_idle_timeout),
        ("after the login", old.refresh_max_lifetime, new.refresh_max_lifetime),
    ):
        if before != after:
            yield f"refresh tokens end {after} s {what}, before {before} s"
    if old.id_token_signing_key != new.id_token_signing_key:
        yield f"SigningKey {new.id_token_signing_key} signs ID tokens"


def _uris(what: str, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{what} {uri} is added" for uri in new if uri not in old)
    yield from (f"{what} {uri} is removed" for uri in old if uri not in new)


def _groups(login: Login) -> str:
    if login.allowed_groups is None:
        return "every user"
    return f"members of {', '.join(login.allowed_groups) or 'no group'}"
