"""Protected resource metadata (RFC 9728): from it, a client finds the authorization server of an API, and the scopes.

The document is public. All of it is derived from the audience and the configuration, never from a request: a document
that named the host of the header Host would send clients, with their tokens, to any host.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, runtime_checkable
from urllib.parse import unquote

from scopewright.verifier.check import required_scopes
from scopewright.verifier.issuer_url import check_issuer_url
from scopewright.verifier.refusals import PROOF_ALGORITHMS
from scopewright.verifier.token_verifier import shown_type

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
MAX_AGE_SECONDS: Final = 300
"""How long clients may cache the document. A new authorization server or scope is in use after this time."""
BEARER_METHODS: Final = ("header", "body", "query")

_ORIGIN: Final = re.compile(r"(https?://[^/]*)")


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """The metadata of one API. Clients compare `resource`, the audience, with the URL that they use (RFC 9728 §3.3).

    `url` is the absolute URL of the document, for challenges (§5.1), and `path` its path, percent-encoded as in the
    audience (§3.1). Make one with `of`.
    """

    resource: str
    authorization_servers: tuple[str, ...]
    url: str
    path: str
    _document: bytes

    @classmethod
    def of(
        cls,
        audience: str,
        issuer: str | Iterable[str],
        *,
        scopes: Iterable[str] = (),
        bearer_methods: Iterable[str] = ("header",),
        dpop_bound_access_tokens_required: bool = False,
        dpop_signing_alg_values_supported: Iterable[str] = (),
        resource_name: str = "",
        resource_documentation: str = "",
    ) -> Self:
        """The metadata of the API whose tokens have `audience`, by one issuer or several.

        Members without a value are omitted (§2). Raises ValueError for an audience that is not an http(s) URL without
        query, fragment and user, because a client could not compare it with the URL that it uses.
        """
        issuers = (issuer,) if isinstance(issuer, str) else tuple(issuer)
        if not issuers:
            raise ValueError("protected resource metadata needs at least one issuer")
        members: dict[str, Any] = {
            "resource": _checked_audience(audience),
            "authorization_servers": [check_issuer_url(url) for url in issuers],
            "scopes_supported": sorted(required_scopes(scopes)),
            "bearer_methods_supported": _among("bearer_methods", bearer_methods, BEARER_METHODS),
            "dpop_signing_alg_values_supported": _among(
                "dpop_signing_alg_values_supported", dpop_signing_alg_values_supported, PROOF_ALGORITHMS
            ),
            "dpop_bound_access_tokens_required": dpop_bound_access_tokens_required,
            "resource_name": resource_name,
            "resource_documentation": resource_documentation,
        }
        origin = _ORIGIN.split(audience)[1]
        below = audience.removeprefix(origin)
        path = WELL_KNOWN + ("" if below == "/" else below)  # only the slash after the host is removed (§3.1)
        document = json.dumps({name: value for name, value in members.items() if value}, separators=(",", ":"))
        return cls(audience, issuers, origin + path, path, document.encode("ascii"))

    def document(self) -> bytes:
        """The body of the response: JSON (§3.2)."""
        return self._document

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the response. Scripts of every origin may read it, as the metadata of the issuer."""
        return [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self._document))),
            ("Cache-Control", f"public, max-age={MAX_AGE_SECONDS}"),
            ("Access-Control-Allow-Origin", "*"),
        ]

    def answers(self, method: str, path: str | None) -> bool:
        """Whether a request is for the document. `path` is decoded, and one slash at its end is ignored.

        Only GET and HEAD are. Every other request is decided as usual.
        """
        if method not in ("GET", "HEAD") or path is None or not path.startswith(WELL_KNOWN):
            return False
        return path.removesuffix("/") == unquote(self.path).removesuffix("/")


@runtime_checkable
class _KnowsIssuers(Protocol):
    """`Verifier` and `AnyIssuer`; other verifiers need not have it."""

    @property
    def audiences(self) -> tuple[str, ...]: ...

    @property
    def issuers(self) -> tuple[str, ...]: ...

    @property
    def scopes(self) -> frozenset[str]: ...


def metadata_of(
    argument: bool | ResourceMetadata | None,
    verifier: object,
    *,
    scopes: Iterable[str] = (),
    dpop_algorithms: Iterable[str] = (),
    dpop_required: bool = False,
) -> ResourceMetadata | None:
    """The value of `resource_metadata=`. True describes the verifier, with the scopes that the middleware knows.

    Raises ValueError if the verifier has several audiences, or one that is not a URL, and for metadata of an API whose
    tokens the verifier refuses.
    """
    if argument is None or argument is False:
        return None
    known = verifier if isinstance(verifier, _KnowsIssuers) else None
    if isinstance(argument, ResourceMetadata):
        if known is not None:
            _require_accepted(argument, known)
        return argument
    if argument is not True:
        raise TypeError(f"resource_metadata= takes True or a ResourceMetadata, not {shown_type(argument)}")
    example = "pass resource_metadata=ResourceMetadata.of(audience, issuer)"
    if known is None:
        raise ValueError(f"this verifier does not name its audience and issuer: {example}")
    if len(known.audiences) != 1:
        raise ValueError(f"the verifier has several audiences, and metadata describes one: {example} with one of them")
    return ResourceMetadata.of(
        known.audiences[0],
        known.issuers,
        scopes=known.scopes.union(scopes),
        dpop_bound_access_tokens_required=dpop_required,
        dpop_signing_alg_values_supported=dpop_algorithms,
    )


def _require_accepted(metadata: ResourceMetadata, verifier: _KnowsIssuers) -> None:
    """Clients would otherwise get tokens that the verifier refuses."""
    if metadata.resource not in verifier.audiences:
        raise ValueError(
            f"resource_metadata= is of {metadata.resource}, which is not an audience of the verifier: "
            f"use one of {', '.join(verifier.audiences)}"
        )
    for issuer in metadata.authorization_servers:
        if issuer not in verifier.issuers:
            raise ValueError(
                f"resource_metadata= names the issuer {issuer}, whose tokens the verifier refuses: "
                f"use {', '.join(verifier.issuers)}"
            )


def _checked_audience(audience: str) -> str:
    try:
        return check_issuer_url(audience)
    except ValueError:
        raise ValueError(
            f"the audience {audience!r} has no protected resource metadata (RFC 9728): use an absolute URL such as "
            "https://payroll.hr.example/api, without query, fragment, user and the segments '.' and '..'"
        ) from None


def _among(argument: str, values: Iterable[str], allowed: tuple[str, ...]) -> list[str]:
    """In the order of `allowed`. Raises ValueError for any other value."""
    given = frozenset((values,) if isinstance(values, str) else values)
    if not given <= frozenset(allowed):
        raise ValueError(f"{argument} must be among {', '.join(allowed)}")
    return [value for value in allowed if value in given]
