"""Which library is asked to do what: the table of the suite."""

from dataclasses import dataclass
from typing import Final

from tests.interop.served import Capability

_EVERYTHING: Final = frozenset(Capability)


@dataclass(frozen=True)
class Library:
    name: str
    program: str
    """Which of the programs speaks for it: node, go, java or python."""
    can: frozenset[Capability]
    cannot_verify: frozenset[str] = frozenset()
    """Algorithms of access tokens that it refuses as it comes, by its own choice."""


LIBRARIES: Final = (
    Library("oauth4webapi", "node", _EVERYTHING),
    # It has no call that verifies an access token: that is what its author's other two are for.
    Library("openid-client", "node", _EVERYTHING - {Capability.ACCESS_TOKEN}),
    Library("jose", "node", frozenset({Capability.ACCESS_TOKEN})),
    # No discovery of its own and no other endpoint than the token's; assertions and exchanges go by EndpointParams.
    Library(
        "x-oauth2",
        "go",
        frozenset(
            {
                Capability.CLIENT_SECRET_BASIC,
                Capability.CLIENT_SECRET_POST,
                Capability.REFUSALS,
                Capability.PRIVATE_KEY_JWT,
                Capability.TOKEN_EXCHANGE,
            }
        ),
    ),
    Library("go-oidc", "go", frozenset({Capability.OPENID_DISCOVERY, Capability.ACCESS_TOKEN})),
    # Its JWT processor makes Java keys of a JWKS, and makes none of OKP keys.
    Library("nimbus", "java", _EVERYTHING, frozenset({"EdDSA"})),
    # DPoP is not in it; its validator of RFC 9068 takes joserfc's recommended algorithms and no others.
    Library("authlib", "python", _EVERYTHING - {Capability.DPOP}, frozenset({"ES384", "PS256", "EdDSA"})),
)

SIGNERS: Final = ("node", "go", "java", "python")
"""Programs that sign tokens for the verifier: by jose, go-jose, Nimbus and joserfc."""
