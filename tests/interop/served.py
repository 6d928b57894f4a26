"""What the clients of other people can be shown to do with the issuer, and how its metadata says that it is served."""

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
    """A wrong secret and an ungranted scope arrive as the library's own errors."""
    ACCESS_TOKEN = "access_token"
    """The library verifies our token, for each algorithm that a SigningKey may have."""
    PRIVATE_KEY_JWT = "private_key_jwt"
    INTROSPECTION = "introspection"
    REVOCATION = "revocation"
    TOKEN_EXCHANGE = "token_exchange"
    DPOP = "dpop"


def said_by(metadata: Mapping[str, Any]) -> frozenset[Capability]:
    """What the metadata of the issuer promises."""
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
