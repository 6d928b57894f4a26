"""Login of users through a client: what the platform allows of `spec.login`, and why it does not allow the rest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from scopewright.api import OAuthClient
from scopewright.api.login import ID_TOKENS, ClientLogin
from scopewright.api.redirect_uris import redirect_host, redirect_kind
from scopewright.core.client.authentication import is_public
from scopewright.core.client.restrictions import forbidden_method
from scopewright.core.client.view import ClientView
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import is_paused
from scopewright.core.plan import ConditionUpdate
from scopewright.core.records.client import ClientRecord, Login

LOGIN_ALLOWED: Final = "LoginAllowed"
ID_TOKEN_KEY_NOT_READY: Final = "IDTokenKeyNotReady"  # noqa: S105  # a reason
NO_PROVIDER: Final = "NoIdentityProvider"
PROVIDER_NOT_FOUND: Final = "IdentityProviderNotFound"
PROVIDER_REQUIRED: Final = "IdentityProviderRequired"
_TRANSIENT: Final = (ID_TOKEN_KEY_NOT_READY, NO_PROVIDER, PROVIDER_NOT_FOUND)
"""Reasons that end when an object of the platform team changes."""
CODE: Final = "authorization_code"
MAX_TEXT: Final = 8000
MAX_LISTED: Final = 5
"""Names of providers in a message."""


@dataclass(frozen=True, slots=True)
class LoginDecision:
    """What of `spec.login` the record has; None without a redirect URI, so that no user can log in. `refused` says what
    it does not have, and why.
    """

    login: Login | None = None
    refused: tuple[Rejected, ...] = ()


def decide_login(client: OAuthClient, config: Config) -> LoginDecision:
    """Return what the platform allows. Everything that it does not allow is refused: hosts of redirect URIs one by one.

    It does not rely on the CEL rules: an object may be older than they are.
    """
    declared = client.spec.login
    if declared is None or CODE not in client.spec.grant_types:
        return LoginDecision()
    redirect_uris = _allowed(declared.redirect_uris, client, config)
    after_logout = _allowed(declared.post_logout_redirect_uris, client, config)
    every = dict.fromkeys((*declared.redirect_uris, *declared.post_logout_redirect_uris))
    refused = [uri for uri in every if uri not in (*redirect_uris, *after_logout)]
    skips = declared.consent == "Skip" and _may_skip(redirect_uris, client, config)
    without_pkce = declared.pkce == "Optional" and not is_public(client) and config.profile != "FAPI2"
    reasons = (
        *((_host_refused(refused, client, config),) if refused else ()),
        *((_skip_refused(client),) if declared.consent == "Skip" and not skips else ()),
        *((_pkce_refused(),) if declared.pkce == "Optional" and not without_pkce else ()),
    )
    if not redirect_uris:
        return LoginDecision(None, reasons)
    return LoginDecision(_login(declared, redirect_uris, after_logout, skips=skips, pkce=not without_pkce), reasons)


def limit_login(login: Login | None, before: Login | None) -> Login | None:
    """Return the part that the record has already, for a namespace that exceeds its limits."""
    if login is None or before is None:
        return None
    redirect_uris = tuple(u for u in login.redirect_uris if u in before.redirect_uris)
    after_logout = tuple(u for u in login.post_logout_redirect_uris if u in before.post_logout_redirect_uris)
    limited = replace(login, redirect_uris=redirect_uris, post_logout_redirect_uris=after_logout)
    return limited if redirect_uris else None


def login_allowed(view: ClientView, record: ClientRecord | None) -> tuple[ConditionUpdate, ...]:
    """Return the condition of a client through which users log in; none for another client."""
    client, declared = view.client, view.client.spec.login
    if declared is None or CODE not in client.spec.grant_types:
        return ()
    decision = decide_login(client, view.config)
    if is_paused(client.metadata.annotations) and decision.login != (record.login if record else None):
        what = "spec.login or the platform's configuration has changed; the issuer keeps what it had until then"
        return (ConditionUpdate(LOGIN_ALLOWED, "Unknown", "Paused", what),)
    without_key = _key_refused(view, declared.id_token_signing_key)
    without_provider = _provider_refused(view, declared.identity_providers or ())
    forbidden = forbidden_method(client, view.config)
    refused = (*((forbidden,) if forbidden else ()), *decision.refused, *without_provider, *without_key)
    if not refused:
        count = len(declared.redirect_uris)
        what = f"users may log in and return to {count} redirect URI{'s' if count > 1 else ''}"
        return (ConditionUpdate(LOGIN_ALLOWED, "True", "Allowed", what),)
    message = "; ".join(why.message for why in refused)
    named = declared.identity_providers or ()
    no_provider = without_provider and view.providers.isdisjoint(named)
    if decision.login is None or forbidden or without_key or no_provider:
        message = f"no user can log in: {message}"
    reason = refused[0].reason
    waits = reason in _TRANSIENT
    return (ConditionUpdate(LOGIN_ALLOWED, "False", reason, message[:MAX_TEXT], transient=waits),)


def _provider_refused(view: ClientView, named: Iterable[str]) -> tuple[Rejected, ...]:
    """Why users of some or all providers cannot log in. The record has the names all the same: they may follow."""
    existing, named = view.providers, tuple(named)
    if not existing:
        if view.developer_login:
            return ()
        message = (
            "no IdentityProvider is in force yet: wait, or ask the platform team to create one in namespace "
            f"{view.config.namespace}"
        )
        return (Rejected(NO_PROVIDER, message),)
    if not named and len(existing) > 1:
        message = (
            f"spec.login.identityProviders is empty, and there are several: name those of this application's users, "
            f"of {_listed(existing)}"
        )
        return (Rejected(PROVIDER_REQUIRED, message),)
    if missing := [name for name in named if name not in existing]:
        message = (
            f"IdentityProvider {_listed(missing)} does not exist, or has never been in force: wait, or correct "
            "spec.login.identityProviders"
        )
        return (Rejected(PROVIDER_NOT_FOUND, message),)
    return ()


def _listed(names: Iterable[str]) -> str:
    """At most MAX_LISTED names."""
    ordered = sorted(names)
    more = f" and {len(ordered) - MAX_LISTED} more" if len(ordered) > MAX_LISTED else ""
    return ", ".join(ordered[:MAX_LISTED]) + more


def _key_refused(view: ClientView, name: str) -> tuple[Rejected, ...]:
    """Why the SigningKey signs no ID token. The record has its name all the same: it may sign later."""
    namespace, profile = view.config.namespace, view.config.profile
    if name in view.forbidden_keys:
        message = (
            f"the platform's profile {profile} does not allow the algorithm of SigningKey {name}: set "
            "spec.login.idTokenSigningKey to one with ES256, PS256 or Ed25519"
        )
        if name == ID_TOKENS:
            message += f", or ask the platform team to delete SigningKey {name}, which the operator then creates again"
        return (Rejected("ProfileForbids", message),)
    if name in view.signing:
        return ()
    message = (
        f"SigningKey {name} has no key that signs ID tokens yet: wait, correct spec.login.idTokenSigningKey, or ask "
        f"the platform team to create it in namespace {namespace}"
    )
    return (Rejected(ID_TOKEN_KEY_NOT_READY, message),)


def _login(
    declared: ClientLogin, redirect_uris: tuple[str, ...], after_logout: tuple[str, ...], *, skips: bool, pkce: bool
) -> Login:
    groups, tokens = declared.allowed_groups, declared.refresh_tokens
    return Login(
        redirect_uris=redirect_uris,
        post_logout_redirect_uris=after_logout,
        identity_providers=tuple(declared.identity_providers or ()),
        allowed_groups=None if groups is None else tuple(groups),
        consent="Skip" if skips else "Required",
        pushed_requests_required=declared.require_pushed_authorization_requests,
        pkce_required=pkce,
        refresh_idle_timeout=int(tokens.idle_timeout.total_seconds()),
        refresh_max_lifetime=int(tokens.max_lifetime.total_seconds()),
        id_token_signing_key=declared.id_token_signing_key,
    )


def _allowed(uris: Iterable[str], client: OAuthClient, config: Config) -> tuple[str, ...]:
    return tuple(uri for uri in uris if _is_allowed(uri, client, config))


def _is_allowed(uri: str, client: OAuthClient, config: Config) -> bool:
    kind = redirect_kind(uri)
    if kind is None or (kind == "private-use" and not is_public(client)):
        return False
    if kind == "loopback" and is_public(client):
        return True
    return config.users.allows_host(client.namespace, redirect_host(uri))


def _may_skip(redirect_uris: tuple[str, ...], client: OAuthClient, config: Config) -> bool:
    hosts = [redirect_host(uri) for uri in redirect_uris]
    skippable = all(config.users.allows_skipping(client.namespace, host) for host in hosts)
    return bool(hosts) and skippable and not is_public(client)


def _host_refused(refused: list[str], client: OAuthClient, config: Config) -> Rejected:
    hosts = list(dict.fromkeys(_where(refused)))
    own = list(config.users.hosts_of(client.namespace))
    allowed = f"it may use {', '.join(own)}" if own else "it may use none but loopback with method None"
    return Rejected(
        "RedirectHostNotAllowed",
        f"users may not return from namespace {client.namespace} to {', '.join(hosts)}: {allowed}; correct "
        "spec.login, or ask the platform team to add the host to users.applications",
    )


def _where(uris: list[str]) -> Iterator[str]:
    for uri in uris:
        yield redirect_host(uri) if redirect_kind(uri) else "a URI that is not in canonical form"


def _skip_refused(client: OAuthClient) -> Rejected:
    return Rejected(
        "ConsentNotSkippable",
        f"users are asked for their consent: the platform does not let namespace {client.namespace} skip it for all of "
        "these redirect URIs; set spec.login.consent to Required, or ask the platform team for consent: Skippable in "
        "users.applications",
    )


def _pkce_refused() -> Rejected:
    return Rejected(
        "ProfileForbids",
        "the issuer requires a code challenge all the same: method None and profile FAPI2 do not allow spec.login.pkce "
        "Optional; set it to Required",
    )
