"""Restrictions of an OAuthClient by the platform's profile, and by the cost of keys and scopes."""

from scopewright.api import OAuthClient
from scopewright.api.names import MAX_SCOPES
from scopewright.core.client.authentication import declared_keys
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.plan import ConditionUpdate
from scopewright.core.profile import allows_method, ignored_reason


def refuse_by_profile(client: OAuthClient, config: Config) -> None:
    """Raise `Rejected` if the profile does not allow the client's method, or none of its keys is accepted."""
    if forbidden := forbidden_method(client, config):
        raise forbidden
    keys, ignored = declared_keys(client), _ignored(client, config)
    if keys and len(ignored) == len(keys):
        raise Rejected("UnsupportedKey", _message(ignored))


def forbidden_method(client: OAuthClient, config: Config) -> Rejected | None:
    """Why the profile does not allow the client's method; None if it does."""
    method = client.spec.authentication.method
    if allows_method(config.profile, method):
        return None
    message = (
        f"the platform's profile {config.profile} does not allow method {method}, and the issuer refuses this client: "
        "set spec.authentication.method to PrivateKeyJWT"
    )
    return Rejected("ProfileForbids", message)


def ignored_keys(client: OAuthClient, config: Config) -> tuple[ConditionUpdate, ...]:
    """Return the condition of a client if some of its keys are ignored."""
    ignored = _ignored(client, config)
    return (ConditionUpdate("KeysIgnored", "True", "UnsupportedKey", _message(ignored)),) if ignored else ()


def too_many_scopes(client: OAuthClient) -> Rejected | None:
    """Reject a client from before the CRD had a limit. It has the first scopes only."""
    if sum(len(a.scopes) for a in client.spec.access) <= MAX_SCOPES:
        return None
    message = (
        f"spec.access requests more than {MAX_SCOPES} scopes in total: the client gets only the first {MAX_SCOPES}; "
        "request fewer, or use two OAuthClients"
    )
    return Rejected("TooManyScopes", message)


def _ignored(client: OAuthClient, config: Config) -> list[tuple[str, str]]:
    """Return the name of each ignored key, with the reason."""
    keys = enumerate(declared_keys(client), 1)
    return [(jwk.get("kid") or f"number {n}", why) for n, jwk in keys if (why := ignored_reason(jwk, config.profile))]


def _message(ignored: list[tuple[str, str]]) -> str:
    return "; ".join(f"key {name} of spec.authentication.jwks is ignored: {why}" for name, why in ignored)
