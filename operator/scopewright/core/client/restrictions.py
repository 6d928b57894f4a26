"""What the platform's configuration withholds from an OAuthClient: its profile, and keys that cost too much."""

from scopewright.api import OAuthClient
from scopewright.api.names import MAX_SCOPES
from scopewright.core.client.authentication import declared_keys
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.plan import ConditionUpdate
from scopewright.core.profile import ignored_reason


def refuse_by_profile(client: OAuthClient, config: Config) -> None:
    """`Rejected` where the profile does not allow the client's method, or none of its keys is accepted."""
    authentication = client.spec.authentication
    if config.profile == "FAPI2" and authentication.method != "PrivateKeyJWT":
        raise Rejected(
            "ProfileForbids",
            f"the platform's profile FAPI2 allows no method {authentication.method}, and the issuer refuses this "
            "client: set spec.authentication.method to PrivateKeyJWT",
        )
    keys, ignored = declared_keys(client), _ignored(client, config)
    if keys and len(ignored) == len(keys):
        raise Rejected("UnsupportedKey", _message(ignored))


def ignored_keys(client: OAuthClient, config: Config) -> tuple[ConditionUpdate, ...]:
    """The condition of a client some of whose keys are ignored."""
    ignored = _ignored(client, config)
    return (ConditionUpdate("KeysIgnored", "True", "UnsupportedKey", _message(ignored)),) if ignored else ()


def too_many_scopes(client: OAuthClient) -> Rejected | None:
    """Of a client that was declared before the CRD had a limit. It gets those that come first."""
    if sum(len(a.scopes) for a in client.spec.access) <= MAX_SCOPES:
        return None
    message = (
        f"spec.access asks for more than {MAX_SCOPES} scopes in all, and the client gets the first {MAX_SCOPES} alone: "
        "ask for fewer, or split the OAuthClient in two"
    )
    return Rejected("TooManyScopes", message)


def _ignored(client: OAuthClient, config: Config) -> list[tuple[str, str]]:
    """Each key by what names it, with the reason."""
    found = []
    for index, jwk in enumerate(declared_keys(client)):
        if why := ignored_reason(jwk, config.profile):
            found.append((jwk.get("kid") or f"number {index + 1}", why))
    return found


def _message(ignored: list[tuple[str, str]]) -> str:
    return "; ".join(f"key {name} of spec.authentication.jwks is ignored: {why}" for name, why in ignored)
