"""How an application is protected, for every framework: which requests need a token, and the response of a refusal."""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from scopewright.verifier.bearer import has_token, sent_token
from scopewright.verifier.check import require_text, required_scopes
from scopewright.verifier.htu import normalised
from scopewright.verifier.patterns import AuthenticationByPath, PathAuthentication
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusal_log import RefusalLog, expects_url
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected, challenge
from scopewright.verifier.request_rules import RequestRules, RuleNeeds
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.resource_metadata import ResourceMetadata, metadata_of
from scopewright.verifier.rules import Rules
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import TokenVerifier, require_verifier

_BY_STRICTNESS: Final = (PathAuthentication.NONE, PathAuthentication.OPTIONAL, PathAuthentication.REQUIRED)


class RefusalResponse(NamedTuple):
    """Status, headers and JSON body (RFC 6750 §3)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Protection:
    """The options that all integrations have in common; `RequireToken` describes them. `dpop` accepts DPoP."""

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        scopes: Iterable[str] = (),
        public: Iterable[str] = (),
        optional: Iterable[str] = (),
        rules: Rules | str | os.PathLike[str] | None = None,
        realm: str | None = None,
        dpop: bool = False,
        resource_metadata: bool | ResourceMetadata | None = None,
    ) -> None:
        require_verifier(verifier)
        if verifier.may_require_dpop and not dpop:
            raise ValueError("the verifier requires DPoP: pass base_url, such as https://payroll.hr.example")
        if realm:
            require_text("realm", realm)
        self.verifier = verifier
        self.scopes = required_scopes(scopes)
        self.authentication = AuthenticationByPath(public, optional)
        if rules is not None and not self.authentication.is_empty:
            raise ValueError(
                "rules= excludes public= and optional=: remove them, and add rules with authentication None or Optional"
            )
        self._rules = None if rules is None else RequestRules(rules, verifier, self.scopes)
        self.realm = realm
        self.offered = ("DPoP",) if verifier.dpop_required else ("Bearer", "DPoP") if dpop else ("Bearer",)
        self._log = RefusalLog()
        self._schemes = ("bearer", "dpop") if dpop else ("bearer",)
        self._metadata = metadata_of(
            resource_metadata,
            verifier,
            scopes=self.scopes if self._rules is None else self.scopes | self._rules.scopes,
            dpop_algorithms=verifier.dpop_algorithms if dpop else (),
            dpop_required=verifier.dpop_required,
        )
        self._verifier_scopes: frozenset[str] = getattr(verifier, "scopes", frozenset())
        self._metadata_url = None if self._metadata is None else self._metadata.url

    @property
    def has_metadata(self) -> bool:
        return self._metadata is not None

    def metadata_for(self, method: str, path: str | None) -> ResourceMetadata | None:
        """The metadata if a request is for its document, which needs no token. `path` is that of `ReceivedRequest`."""
        metadata = self._metadata
        return metadata if metadata is not None and metadata.answers(method, path) else None

    async def token(self, request: ReceivedRequest, *, route: PathAuthentication | None = None) -> Token | None:
        """The verified token of a request; None if it needs no token, and has none or one that is ignored.

        `route` is what the route of the request says itself. It replaces `public` and `optional`; of `route` and a
        rule, the stricter one applies. Raises `TokenRejected` or `KeysUnavailable`: the response is then `refusal`.
        """
        needs = None
        try:
            needs = self._rules.of(request) if self._rules is not None else None
            arguments = self._arguments(request, needs, route)
            token = None if arguments is None else await self.verifier.verify(**arguments)
            return _checked(token, needs)
        except (TokenRejected, KeysUnavailable) as refusal:
            self._note(refusal, request, needs)
            raise

    def token_sync(self, request: ReceivedRequest) -> Token | None:
        """`token` for threads."""
        needs = None
        try:
            needs = self._rules.of(request) if self._rules is not None else None
            arguments = self._arguments(request, needs)
            token = None if arguments is None else self.verifier.verify_sync(**arguments)
            return _checked(token, needs)
        except (TokenRejected, KeysUnavailable) as refusal:
            self._note(refusal, request, needs)
            raise

    def name_scopes(self, refusal: Exception, scopes: Iterable[str]) -> None:
        """Adds the scopes that the request needs to a 401 (RFC 6750 §3), if there is metadata.

        A client that finds the issuer by the metadata asks for them, and not for all scopes of the API.
        """
        if self._metadata is not None and isinstance(refusal, TokenRejected) and refusal.status == 401:
            refusal.scope = " ".join(sorted(self._verifier_scopes.union(scopes)))

    def check(self, requirement: Requirement, token: Token | None, method: str, path: str) -> Token:
        """The token of a request, if it meets the requirement of its route. Raises `TokenRejected`."""
        try:
            return requirement.check(token)
        except TokenRejected as refusal:
            self.log(refusal, method, path)
            raise

    def log(self, refusal: TokenRejected | KeysUnavailable, method: str, path: str) -> None:
        """For a refusal that was raised neither by `token` nor by `check`, which log their own."""
        self._log.refused(refusal, method, path)

    def log_denied(self, method: str, path: str, why: str) -> None:
        """For a request that is refused whatever its token is."""
        self._log.denied(method, path, why)

    def _note(
        self, refusal: TokenRejected | KeysUnavailable, request: ReceivedRequest, needs: RuleNeeds | None
    ) -> None:
        """Logs a refusal of `token`, and completes it with the scopes that the request needs."""
        url = request.url() if expects_url(refusal) else ""
        self._log.refused(refusal, request.method, request.path or request.raw_path or "", url)
        self.name_scopes(refusal, self.scopes if needs is None else needs.requirement.scopes)

    def _arguments(
        self, request: ReceivedRequest, needs: RuleNeeds | None, route: PathAuthentication | None = None
    ) -> dict[str, Any] | None:
        """The arguments of `Verifier.verify`, or None if no token is to be verified."""
        authentication = self._authentication(request, needs, route)
        if authentication is PathAuthentication.NONE:
            return None
        if authentication is PathAuthentication.OPTIONAL and not has_token(request.authorization):
            return None
        scheme, token = sent_token(request.authorization, request.query, self._schemes)
        scopes = self.scopes if needs is None else ()  # those of the rule include them
        if scheme == "bearer":
            return {"token": token, "scopes": scopes}
        proof = {"proof": request.dpop, "method": request.method, "url": request.url()}
        return {"token": token, "scopes": scopes, **proof}

    def _authentication(
        self, request: ReceivedRequest, needs: RuleNeeds | None, route: PathAuthentication | None
    ) -> PathAuthentication:
        if needs is None:
            return self.authentication.of(request.path, request.raw_path) if route is None else route
        return needs.authentication if route is None else max(needs.authentication, route, key=_BY_STRICTNESS.index)

    def nonce_headers(self, proofs: Sequence[str]) -> list[tuple[str, str]]:
        """The header DPoP-Nonce for the response to a request with `proofs` (RFC 9449 §9), if nonces are used."""
        nonce = self.verifier.nonce() if proofs and "DPoP" in self.offered else None
        return [("DPoP-Nonce", nonce)] if nonce else []

    def refusal(self, refusal: TokenRejected | KeysUnavailable) -> RefusalResponse:
        """The response that refuses a request."""
        fields: dict[str, str | None] = {"error_description": refusal.description}
        if isinstance(refusal, TokenRejected):
            fields |= {"error": refusal.error, "scope": refusal.scope}
            first = [("WWW-Authenticate", value) for value in self.challenges(refusal)]
        else:
            fields |= {"error": "temporarily_unavailable"}
            first = [("Retry-After", str(refusal.retry_after))]
        body = json.dumps({name: value for name, value in sorted(fields.items()) if value}).encode("ascii")
        fixed = [
            ("Content-Type", "application/json"),
            ("Cache-Control", "no-store"),
            ("Content-Length", str(len(body))),
        ]
        return RefusalResponse(refusal.status, [*first, *fixed], body)

    def exception_headers(self, refusal: TokenRejected | KeysUnavailable) -> dict[str, str]:
        """The headers of `refusal` for HTTP exceptions that have a body of their own. Challenges are joined."""
        headers = {"Cache-Control": "no-store"}
        if isinstance(refusal, TokenRejected):
            return headers | {"WWW-Authenticate": ", ".join(self.challenges(refusal))}
        return headers | {"Retry-After": str(refusal.retry_after)}

    def challenges(self, refusal: TokenRejected) -> list[str]:
        """A challenge for the scheme that was used, or else for the first; with 401, one for each other scheme."""
        used = refusal.scheme if refusal.scheme in self.offered else self.offered[0]
        schemes = self.offered if refusal.status == 401 else (used,)
        refusal.proof_algorithms = algorithms = self.verifier.dpop_algorithms
        url = self._metadata_url
        return [
            refusal.challenge(self.realm, scheme, url)
            if scheme == used
            else challenge(scheme, self.realm, {}, algorithms, url)
            for scheme in schemes
        ]


def _checked(token: Token | None, needs: RuleNeeds | None) -> Token | None:
    """The token, if it has what its rule needs. Raises `TokenRejected`."""
    if token is None or needs is None:
        return token
    try:
        return needs.requirement.check(token)
    except TokenRejected as refusal:
        refusal.rule = needs.name
        raise


def check_base_url(base_url: object) -> None:
    """Raises ValueError for a `base_url=` that is not an http(s) URL. A function is called for each request."""
    if isinstance(base_url, str):
        normalised(base_url)
