"""The libraries, and the capabilities that are tested with each."""

from dataclasses import dataclass
from typing import Final

from tests.interop.served import Capability

_EVERYTHING: Final = frozenset(Capability)


@dataclass(frozen=True)
class Library:
    name: str
    program: str
    """The program that uses it: node, go, java or python."""
    can: frozenset[Capability]
    cannot_verify: frozenset[str] = frozenset()
    """Algorithms of access tokens that it refuses by default."""


LIBRARIES: Final = (
    Library("oauth4webapi", "node", _EVERYTHING),
    # It cannot verify access tokens; its author's other two libraries can.
    Library("openid-client", "node", _EVERYTHING - {Capability.ACCESS_TOKEN}),
    Library("jose", "node", frozenset({Capability.ACCESS_TOKEN})),
    # No discovery, and no endpoint but the token endpoint; assertions and exchanges use EndpointParams.
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
    # Its JWT processor converts a JWKS to Java keys, and cannot convert OKP keys.
    Library("nimbus", "java", _EVERYTHING, frozenset({"EdDSA"})),
    # No DPoP; its validator of RFC 9068 accepts only the algorithms that joserfc recommends.
    Library("authlib", "python", _EVERYTHING - {Capability.DPOP}, frozenset({"ES384", "PS256", "EdDSA"})),
)

SIGNERS: Final = ("node", "go", "java", "python")
"""Programs that sign tokens for the verifier: by jose, go-jose, Nimbus and joserfc."""
