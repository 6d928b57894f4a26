"""What the session store holds, as values of the kinds below, in JSON.

Times are whole seconds since the epoch. No value has a token of this issuer, a code, or the secret of a cookie.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from scopewright.core.records.client import RequestedAccess
from scopewright.issuer.upstream.authenticated_user import UpstreamTokens
from scopewright.stores.sessions.sealed import Opened

T = TypeVar("T")

CheckProblem = Literal["", "no_answer", "too_many_groups"]
"""Why the last check of a login did not confirm it."""

_VERSION: Final = b"1"
"""In front of the JSON. A value of another version counts as not stored."""

_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {}


@dataclass(frozen=True, slots=True)
class Session:
    """The login of a user in one browser, under `session:<sid>`. It is stored until its end, which is the latest end of
    the tokens that belong to it; `seen_time` bounds how long the browser stays logged in without use.
    """

    sid: str
    secret_sha256: str
    """SHA-256, in hex, of the secret in the cookie."""
    subject: str
    provider: str
    provider_uid: str
    groups: tuple[str, ...]
    auth_time: int
    """As in AuthenticatedUser: 0 if it is not known."""
    end_time: int
    seen_time: int
    checked_time: int
    """When the provider last confirmed the user and the groups."""
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    acr: str = ""
    amr: tuple[str, ...] = ()
    login: str = ""
    """The `UpstreamLogin` that the groups and claims are a copy of; empty: there is no provider to ask."""
    earlier: tuple[str, ...] = ()
    """Sessions of the user's earlier logins in this browser (`prompt=login`). They end with it."""
    begun_time: int = 0
    """When the user logged in here, whatever `auth_time` the provider says; the sessions of refresh tokens with
    `offline_access` have that of their login. 0, as earlier versions stored it: any `revokedBefore` ends it."""

    @property
    def sids(self) -> tuple[str, ...]:
        """Of all logins of the user in this browser, the last one first."""
        return self.sid, *self.earlier

    @property
    def display_name(self) -> str:
        """The user's name for pages."""
        return str(self.claims.get("name") or self.claims.get("preferred_username") or self.subject)


@dataclass(frozen=True, slots=True)
class UpstreamLogin:
    """A login at an OpenID provider as that last confirmed it, under `login:<sid>`, and the tokens to ask it again.

    The session of the browser and those of its refresh tokens with `offline_access` share it: a refresh token that the
    provider rotates must not be stored twice.
    """

    sid: str
    """Of the session of the browser, which may have ended."""
    subject: str
    tokens: UpstreamTokens
    groups: tuple[str, ...]
    claims: Mapping[str, Any] = field(repr=False)
    checked_time: int
    """When the provider last confirmed the user, the groups and the claims."""
    end_time: int
    """The latest end of the sessions that share it."""
    pause_until: int = 0
    """Until then no other request asks: one is asking, or `problem` was the answer to the last one."""
    problem: CheckProblem = ""


@dataclass(frozen=True, slots=True)
class DelegatedAccess:
    """What a user has delegated to a client: the upper limit of every token by a code or a refresh token."""

    client_id: str
    client_uid_hash: str
    sid: str
    subject: str
    scopes: tuple[str, ...]
    """Scopes of OpenID Connect: openid, profile, email, phone, address, groups, offline_access."""
    access: tuple[RequestedAccess, ...] = ()
    """Consented scopes of APIs."""
    jkt: str = ""
    """Thumbprint of the DPoP key that every token is bound to; empty: of none."""
    apis: Mapping[str, str] = field(default_factory=dict)
    """By API of `access`: the hash of its UID. The user has delegated nothing at a new API of the same name."""

    def is_at(self, resource_server: str, api_uid_hash: str) -> bool:
        """Whether it was delegated at this API, and not at an earlier one of the same name."""
        return self.apis.get(resource_server, api_uid_hash) == api_uid_hash

    def is_to(self, client_id: str, client_uid_hash: str) -> bool:
        """Whether it was delegated to this client, and not to an earlier one of the same name."""
        return (self.client_id, self.client_uid_hash) == (client_id, client_uid_hash)


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code, under `code:<id>`: the id is the SHA-256 of the code."""

    delegated: DelegatedAccess
    redirect_uri: str
    """As in the authorization request."""
    code_challenge: str
    """PKCE, S256. Empty if the request had none: then a `code_verifier` is refused (RFC 9700 §4.8.2)."""
    nonce: str = ""
    redemption: "Redemption | None" = None
    """None until the code is redeemed. Then it is kept as long as its tokens live."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A pushed authorization request (RFC 9126), under `pushed:<handle>`. `request_uri` is a URN with the handle."""

    client_id: str
    client_uid_hash: str
    parameters: Mapping[str, tuple[str, ...]]
    """Those of the request, with the subject in place of `id_token_hint`, and in `dpop_jkt` the thumbprint of the key
    that signed the proof of the push. Empty once it is used up."""
    end_time: float
    """The end of `expires_in`. A login that has begun goes on."""
    brought: bool = False
    """Whether a browser has come with it: then it is stored as long as a login may last."""
    used: bool = False
    """Whether the client got its code or an error."""


@dataclass(frozen=True, slots=True)
class Redemption:
    """What a code was redeemed for."""

    family: str = ""
    """Id of the family of refresh tokens; empty: of none."""


@dataclass(frozen=True, slots=True)
class Family:
    """A family of refresh tokens, under `family:<id>`: the id is the SHA-256 of the handle in the tokens."""

    delegated: DelegatedAccess
    grant_id: str
    """Part of the `jti` of each access token: all of them end at once."""
    login_sid: str
    """The session of the browser, which ID tokens name. With `offline_access`, tokens have a session of their own."""
    redirect_uri: str
    created_time: int
    used_time: int
    """Of the last use; not written for each one if the family does not rotate."""
    secret: str = field(default="", repr=False)
    """Key of the HMACs of a family that rotates; empty: it does not."""
    generation: int = 0
    rotated_time: int = 0


def encode_stored(value: object) -> bytes:
    """Return a value, an instance of a dataclass, as it is stored."""
    return _VERSION + _adapter(type(value)).dump_json(value)


def decode_stored(kind: type[T], opened: Opened | None) -> T | None:
    """Return the value of the dataclass `kind`; None if there is none, or it is malformed or of another version."""
    if opened is None or opened.value[: len(_VERSION)] != _VERSION:
        return None
    try:
        value: T = _adapter(kind).validate_json(opened.value[len(_VERSION) :])
    except ValidationError:
        return None
    return value


def _adapter(kind: type) -> TypeAdapter[Any]:
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        adapter = _ADAPTERS[kind] = TypeAdapter(kind)
    return adapter
