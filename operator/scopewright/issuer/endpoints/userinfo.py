"""The userinfo endpoint (OpenID Connect Core §5.3): the claims that the user has consented to, from the session.

It is a protected resource whose audience is the issuer itself. A token for an API is refused: an API must not learn
by its callers' tokens who they are. It costs one read of the session store, and none of Kubernetes.
"""

import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from scopewright.core.failures import Unavailable
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.authentication.dpop import DpopProofs, proof_algorithms
from scopewright.issuer.observability.metrics import EndpointMetrics
from scopewright.issuer.protocol.errors import OAuthError, from_failure, invalid_request, unexpected
from scopewright.issuer.protocol.request import MAX_BODY_BYTES, is_form, parameter, parse_form
from scopewright.issuer.protocol.responses import NO_STORE, Answer, Headers, HttpRequest, json_answer
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.inspect import InspectedToken, Inspector
from scopewright.issuer.tokens.validity import client_of, invalid_reason, is_for_userinfo
from scopewright.issuer.users.claims import claims_of
from scopewright.issuer.users.login_policy import LoginPolicy
from scopewright.issuer.users.sessions import UserSessions
from scopewright.rate_budget import Clock
from scopewright.serving import audit
from scopewright.verifier.bearer import sent_token
from scopewright.verifier.check import ACCESS_TOKEN_TYPES
from scopewright.verifier.jws import parse
from scopewright.verifier.refusals import Reason, TokenRejected, challenge

log: Final = logging.getLogger(__name__)

ANSWERED: Final = "answered"
PATH: Final = "/userinfo"

_MAX_TOKEN_CHARACTERS: Final = 8 * 1024


@dataclass(slots=True)
class _UserinfoRequest:
    http: HttpRequest
    started: float
    scheme: str = "bearer"
    audit_fields: dict[str, Any] = field(default_factory=dict)


class UserinfoEndpoint:
    name: str = "userinfo"

    def __init__(
        self,
        registry: Registry,
        inspector: Inspector,
        revocations: Revocations,
        sessions: UserSessions,
        policy: LoginPolicy,
        dpop: DpopProofs,
        metrics: EndpointMetrics,
        *,
        clock: Clock,
        monotonic: Clock,
        sink: audit.Sink,
    ) -> None:
        self._registry = registry
        self._inspector = inspector
        self._revocations = revocations
        self._sessions = sessions
        self._policy = policy
        self._dpop = dpop
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._sink = sink

    def decide(self, http: HttpRequest) -> Coroutine[None, None, Answer]:
        return self._decide(_UserinfoRequest(http, self._monotonic()))

    async def _decide(self, request: _UserinfoRequest) -> Answer:
        try:
            answer = await self._answer(request)
        except TokenRejected as rejected:
            answer = self._refusal(request, rejected)
            return self._finish(request, answer, rejected.error or "invalid_token", str(rejected.reason))
        except OAuthError as error:
            return self._finish(request, self._with_challenge(error, request), error.result, error.reason)
        except Unavailable as failure:
            return self._fail(request, from_failure(failure))
        except Exception:
            log.exception("a %s request failed", self.name)
            return self._fail(request, unexpected())
        return self._finish(request, answer, ANSWERED)

    def _fail(self, request: _UserinfoRequest, error: OAuthError) -> Answer:
        return self._finish(request, error.answer(), error.result, error.reason)

    async def _answer(self, request: _UserinfoRequest) -> Answer:
        http, now, issuer = request.http, self._clock(), self._registry.require_issuer()
        if http.method not in ("GET", "POST"):
            allowed = ((b"allow", b"GET, POST"),)
            raise invalid_request("use GET or POST", reason="method", status=405, headers=allowed)
        request.scheme, token = _token_of(http)
        inspected = self._inspector.inspect(token, issuer, now) if len(token) <= _MAX_TOKEN_CHARACTERS else None
        if inspected is None:
            raise TokenRejected(_why_unverified(token), scheme=_scheme(request))
        client = client_of(inspected.summary, self._registry)
        reason = self._check_valid(inspected, issuer, now)
        if reason == "not_bound":
            raise TokenRejected(Reason.PROOF_NEEDED)
        if reason or client is None:
            request.audit_fields["ended"] = reason
            raise TokenRejected(Reason.REVOKED, scheme=_scheme(request))
        summary, subject = inspected.summary, inspected.subject
        request.audit_fields |= {
            "client": client.client_id,
            "subject": subject,
            "sid": inspected.sid,
            "jti": summary.jti,
        }
        await self._check_binding(request, inspected, client, token, now)
        if "openid" not in summary.scopes:
            raise TokenRejected(Reason.SCOPE, scopes=("openid",), scheme=_scheme(request))
        session = await self._sessions.of_sid(inspected.sid)
        if session is None or session.subject != subject or self._policy.refusal_of(client.login, session):
            raise TokenRejected(Reason.REVOKED, scheme=_scheme(request))
        content = claims_of(session, summary.scopes) | {"sub": session.subject}
        return Answer(200, NO_STORE + self._nonce(request, now), orjson.dumps(content))

    def _check_valid(self, inspected: InspectedToken, issuer: IssuerRecord, now: float) -> str:
        """Why the token is not one of a user for this endpoint, or has ended; empty if it is valid."""
        if inspected.summary.audience != issuer.issuer:
            raise TokenRejected(Reason.AUDIENCE, expected=issuer.issuer)
        if not is_for_userinfo(inspected) or len(inspected.token_chain) > 1:
            return "not_of_a_user"
        return invalid_reason(inspected, self._registry, self._revocations, now)

    async def _check_binding(
        self, request: _UserinfoRequest, inspected: InspectedToken, client: Client, token: str, now: float
    ) -> None:
        """A token that is bound to a key needs a proof of that key for this request (RFC 9449 §7.1).

        With profile FAPI2 a token without a key may be older than the profile, and is refused (FAPI 2.0 §5.3.3).
        """
        if not inspected.is_bound:
            if self._registry.is_fapi2:
                raise TokenRejected(Reason.PROOF_NEEDED)
            if request.scheme == "dpop":
                raise TokenRejected(Reason.NOT_BOUND)
            return
        if request.scheme != "dpop":
            raise TokenRejected(Reason.SENDER_CONSTRAINED, scheme="DPoP")
        proofs = tuple(request.http.headers.get(b"dpop", b"").split(b","))
        jkt = await self._dpop.verify_at(PATH, request.http.method, proofs, client.client_id, now, token=token)
        if jkt != inspected.claims["cnf"]["jkt"]:
            raise TokenRejected(Reason.PROOF_KEY)

    def _refusal(self, request: _UserinfoRequest, rejected: TokenRejected) -> Answer:
        content = {"error": rejected.error or "invalid_token", "error_description": rejected.description}
        return json_answer(rejected.status, content, NO_STORE + self._challenges(request, rejected.error, rejected))

    def _with_challenge(self, error: OAuthError, request: _UserinfoRequest) -> Answer:
        """A refusal of a proof is 401 at a protected resource (RFC 9449 §7.1)."""
        answer = error.answer()
        if error.error in ("invalid_dpop_proof", "use_dpop_nonce"):
            parameters = {"error": error.error, "error_description": error.description}
            value = challenge("DPoP", None, parameters, self._algorithms())
            headers = (*answer.headers, (b"www-authenticate", value.encode()))
            return Answer(401, headers + self._nonce(request, self._clock()), answer.body)
        return answer

    def _challenges(self, request: _UserinfoRequest, error: str | None, rejected: TokenRejected) -> Headers:
        """Without a token both schemes are offered (profile FAPI2: DPoP alone); otherwise there is one challenge."""
        if error is None:
            bearer = [] if self._registry.is_fapi2 else [challenge("Bearer", "scopewright", {})]
            values = [*bearer, challenge("DPoP", None, {}, self._algorithms())]
        else:
            parameters = {"error": error, "error_description": rejected.description, "scope": rejected.scope}
            realm = "scopewright" if rejected.scheme == "Bearer" else None
            values = [challenge(rejected.scheme, realm, parameters, self._algorithms())]
        headers = tuple((b"www-authenticate", value.encode()) for value in values)
        return headers + self._nonce(request, self._clock())

    def _algorithms(self) -> tuple[str, ...]:
        issuer = self._registry.issuer
        return proof_algorithms(issuer) if issuer else ()

    def _nonce(self, request: _UserinfoRequest, now: float) -> Headers:
        return self._dpop.nonce_header(now) if request.scheme == "dpop" else ()

    def _finish(self, request: _UserinfoRequest, answer: Answer, result: str, reason: str = "") -> Answer:
        more: Mapping[str, Any] = request.audit_fields | ({"reason": reason} if reason else {})
        self._sink(audit.entry(self.name, self._clock(), request.http.peer, result, more))
        self._metrics.count(result, self._monotonic() - request.started)
        return answer


def _why_unverified(token: str) -> Reason:
    """The reason to report, from what the token says of itself: an ID token is a frequent mistake."""
    try:
        kind = parse(token, _MAX_TOKEN_CHARACTERS).header.get("typ")
    except TokenRejected as rejected:
        return rejected.reason
    return Reason.EXPIRED if isinstance(kind, str) and kind.lower() in ACCESS_TOKEN_TYPES else Reason.TYPE


def _token_of(http: HttpRequest) -> tuple[str, str]:
    """The scheme in lower case, and the token: from the header, or from the form of a POST (RFC 6750 §2.2)."""
    authorization = [http.headers[b"authorization"].decode("latin-1")] if b"authorization" in http.headers else []
    if http.method != "POST" or not http.body or not is_form(http.headers.get(b"content-type", b"")):
        return sent_token(authorization, http.query.decode("latin-1"))
    if len(http.body) > MAX_BODY_BYTES:
        raise invalid_request("the body is too large", reason="body_size", status=413)
    token = parameter(parse_form(http.body), "access_token")
    if not token:
        return sent_token(authorization, http.query.decode("latin-1"))
    if authorization:
        raise TokenRejected(Reason.TWO_WAYS)
    return sent_token(f"Bearer {token}")


def _scheme(request: _UserinfoRequest) -> str:
    return "DPoP" if request.scheme == "dpop" else "Bearer"
