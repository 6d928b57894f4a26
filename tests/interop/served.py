"""Capabilities of the issuer that are tested with other libraries, and the metadata that announces them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

TOKEN_EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"


class Capability(StrEnum):
    OAUTH_DISCOVERY = "oauth_discovery"
    OPENID_DISCOVERY = "openid_discovery"
    CLIENT_SECRET_BASIC = "client_secret_basic"
    CLIENT_SECRET_POST = "client_secret_post"
    REFUSALS = "refusals"
    """A wrong secret and an ungranted scope are errors of the library."""
    ACCESS_TOKEN = "access_token"
    """The library verifies an access token, for each algorithm that a SigningKey may have."""
    PRIVATE_KEY_JWT = "private_key_jwt"
    INTROSPECTION = "introspection"
    REVOCATION = "revocation"
    TOKEN_EXCHANGE = "token_exchange"
    DPOP = "dpop"


def promised_by(metadata: Mapping[str, Any]) -> frozenset[Capability]:
    """The capabilities in the metadata of an issuer."""
    methods = metadata.get("token_endpoint_auth_methods_supported", ())
    grants = metadata.get("grant_types_supported", ())
    optional = {
        Capability.CLIENT_SECRET_BASIC: "client_secret_basic" in methods,
        Capability.CLIENT_SECRET_POST: "client_secret_post" in methods,
        Capability.PRIVATE_KEY_JWT: "private_key_jwt" in methods,
        Capability.TOKEN_EXCHANGE: TOKEN_EXCHANGE_GRANT in grants,
        Capability.INTROSPECTION: "introspection_endpoint" in metadata,
        Capability.REVOCATION: "revocation_endpoint" in metadata,
        Capability.DPOP: bool(metadata.get("dpop_signing_alg_values_supported")),
    }
    return frozenset(Capability) - {capability for capability, promised in optional.items() if not promised}
