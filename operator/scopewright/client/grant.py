"""Client credentials (RFC 6749 §4.4) and token exchange (RFC 8693): parameters, request and answer. No I/O."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from scopewright.client.credentials import MountedCredentials
from scopewright.client.dpop import Prover
from scopewright.client.endpoints import TOKEN
from scopewright.client.errors import printable
from scopewright.client.issuer_request import EndpointRequest, Flow, IssuerContext, post
from scopewright.client.option_names import OptionNames
from scopewright.client.token import AccessToken, token_from

CLIENT_CREDENTIALS: Final = "client_credentials"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a grant type
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a token type

_WHERE_ACCESS_IS: Final = (
    "its status.access lists the audiences and scopes to ask for, which must be the same character by character; for "
    "one that is missing there, see its condition AccessGranted"
)

Granted = tuple[AccessToken, MountedCredentials]  # with the credentials of the request


@dataclass(frozen=True, slots=True)
class TokenParameters:
    """The parameters of a token request. None: as in the Secret. `subject_token` is that of the caller to act for."""

    resource: str | None = None
    scope: str | None = None
    subject_token: str | None = field(default=None, repr=False)

    @classmethod
    def from_arguments(
        cls, resource: str | None, scope: str | Collection[str] | None, subject_token: str | None = None
    ) -> Self:
        """Several scopes may be names, or one space-delimited string. Raises TypeError for anything else.

        Raises ValueError for an empty `resource`.
        """
        if resource is not None and not isinstance(resource, str):
            raise TypeError(f"resource= takes the audience of one API, as a string, not {type(resource).__name__}")
        if resource == "":
            raise ValueError("resource= is empty: pass the audience of an API, or omit it for the one in the Secret")
        if scope is None or isinstance(scope, str):
            return cls(resource, scope, subject_token)
        if not isinstance(scope, Collection) or not all(isinstance(name, str) for name in scope):
            raise TypeError('scope= takes a string such as "payroll.read payroll.write", or a list of such names')
        return cls(resource, " ".join(scope), subject_token)

    @property
    def grant_type(self) -> str:
        return TOKEN_EXCHANGE if self.subject_token else CLIENT_CREDENTIALS

    def of(self, credentials: MountedCredentials) -> "TokenParameters":
        resource = self.resource or credentials.audience
        same_api = self.resource in (None, credentials.audience)
        return TokenParameters(resource, self.scope or (credentials.scope if same_api else None), self.subject_token)

    def form(self) -> Mapping[str, str | None]:
        """The fields of the request, with `resource` of RFC 8707."""
        return {
            "grant_type": self.grant_type,
            "resource": self.resource,
            "scope": self.scope,
            "subject_token": self.subject_token,
            "subject_token_type": ACCESS_TOKEN if self.subject_token else None,
        }


def fetch_token(parameters: TokenParameters, context: IssuerContext, prover: Prover | None = None) -> Flow[Granted]:
    """Fetches a token, bound to the key of the `prover` if there is one (RFC 9449 §5). Raises `TokenError`."""

    def advice(error: str, issuer_text: str, credentials: MountedCredentials) -> str:
        client = printable(f"OAuthClient {credentials.client_id}")
        return _advice_on(error, issuer_text, client, parameters.of(credentials), context.names)

    request = EndpointRequest(
        TOKEN,
        lambda credentials: parameters.of(credentials).form(),
        advice,
        hidden=(parameters.subject_token or "",),
        prover=prover,
    )
    answer = yield from post(request, context)
    scope = parameters.of(answer.credentials).scope
    token = token_from(answer.body, answer.requested_at, scope, "DPoP" if prover else "Bearer")
    return token, answer.credentials


def _advice_on(error: str, issuer_text: str, client: str, parameters: TokenParameters, names: OptionNames) -> str:
    match error:
        case "invalid_scope":
            return f"{client} may not have all of: {parameters.scope or 'no scope'}; {_WHERE_ACCESS_IS}"
        case "invalid_target" if parameters.resource is None:
            return (
                f"{client} named no resource: {names.advice('resource', 'the audience of the API to call')} "
                "(status.access lists them); if it asks for one API only, see its condition AccessGranted"
            )
        case "invalid_target":
            return f"{client} may not ask for {parameters.resource}; {_WHERE_ACCESS_IS}"
        case "unauthorized_client" | "unsupported_grant_type":
            return f"{client} may not use {parameters.grant_type}; add it to spec.grantTypes"
        case "invalid_dpop_proof" | "use_dpop_nonce":
            return f"the issuer refuses the DPoP proof of {client}; are the clocks of both sides right?"
        case "invalid_request" if "DPoP proof" in issuer_text:
            return f"the API takes only tokens that are bound to a key (DPoP): pass dpop=True for {client}"
        case "invalid_request" if parameters.subject_token:
            return (
                f"the issuer does not exchange the caller's token; is {client} in servedBy of the API it was sent to?"
            )
        case _:
            return f"the issuer refuses the token request of {client}"
