"""What the tokens of a client for equal requests have in common, encoded once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scopewright import base64url
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.state.keys import LoadedKey

if TYPE_CHECKING:
    from scopewright.issuer.state.entries import ResourceServerEntry

_BYTES_OF_A_GROUP = 3
"""In base64, these become four characters, whatever follows."""


@dataclass(slots=True, eq=False)
class ClaimsTemplate:
    """The claims that all tokens for the same scopes and the same key share.

    `encoded` is the base64url of their JSON without the closing brace, and `rest` what is left of it after the last
    whole group.
    """

    key: LoadedKey
    issuer: str
    encoded: bytes = field(init=False)
    rest: bytes = field(init=False)

    def __init__(self, key: LoadedKey, issuer: str, claims: bytes) -> None:
        self.key, self.issuer = key, issuer
        end = len(claims) - len(claims) % _BYTES_OF_A_GROUP
        self.encoded, self.rest = base64url.encode_bytes(claims[:end]), claims[end:]


@dataclass(slots=True, eq=False)
class RepeatedToken:
    """All that an answer to an equal request has, besides times and `jti`. It has no reference to the client: see
    `GrantedScopes`. `tokens.repeat` knows how long it holds.
    """

    parameters: Any
    """The object that recognised requests share."""
    resource: str
    """As requested; empty: the only one."""
    server: "ResourceServerEntry"
    issuer: IssuerRecord
    keys: object
    """`Keyring.generation`."""
    since: float
    until: float
    template: ClaimsTemplate
    lifetime: int
    last_expiry: float
    audited: bytes
    """Members of the audit line, without those of the client. Clients with equal ones share the object."""
    answered: bytes
    """Members of the answer."""
