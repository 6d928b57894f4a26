"""Generates docs/errors.md, all refusals of issuer, verifier and gateway: `python docs/errors.py [--check]`.

The issuer's refusals are found in its syntax trees: each call of OAuthError or of a helper that makes one, and each
response with its own `error`. `TO_DO` has the fix for each, by error code and audit reason. A refusal without one is
an error.
"""

import ast
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Final

from made import keep

from scopewright.gateway import refusals as gateway
from scopewright.issuer.serving.server import transport_refusal
from scopewright.verifier import KeysUnavailable
from scopewright.verifier.introspection import NO_ANSWER
from scopewright.verifier.refusals import ADVICE, code_of
from scopewright.verifier.replay import TOO_MANY_PROOFS

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = Path(__file__).with_name("errors.md")
ISSUER: Final = ROOT / "operator/scopewright/issuer"
HTTP: Final = ROOT / "operator/scopewright/http"
ANY: Final = "…"
"""Stands for a value of the running process."""

TO_DO: Final = {
    ("invalid_request", "method"): "Send a POST request.",
    (
        "invalid_request",
        "invalid_request",
    ): "Use the method that the description names.",
    ("invalid_request", "body_size"): "Send less than 16 KiB: fewer scopes, or a smaller assertion.",
    ("invalid_request", "content_type"): "Set the Content-Type, and encode the parameters as a form.",
    ("invalid_request", "encoding"): "Percent-encode the parameters as UTF-8.",
    (
        "invalid_request",
        "repeated_header",
    ): "Send Authorization and Content-Type once; check for a proxy that adds them.",
    ("invalid_request", "repeated_parameter"): "Send each parameter once; only resource and audience may repeat.",
    ("invalid_request", "credentials_in_query"): (
        "Move them into the body or the header, and rotate them: URLs end up in logs."
    ),
    ("invalid_request", "grant_type_missing"): "Send one of the grant types that the metadata lists.",
    (
        "invalid_request",
        "two_methods",
    ): "Set the library to one method, client_secret_basic or client_secret_post.",
    ("invalid_request", "two_clients"): "Omit client_id from the body, or send the same as in the header.",
    ("invalid_request", "assertion_type"): "Send both parameters, with that type.",
    ("invalid_request", f"{ANY}_missing"): "Send the code, or the refresh token, of the last response.",
    ("invalid_request", "token_missing"): "Send the token in the form parameter token.",
    ("invalid_request", "subject_token_missing"): "Send both, with the token that the caller sent to this API.",
    ("invalid_request", "subject_token_type"): "Send one of the two.",
    ("invalid_request", "requested_token_type"): "Omit it, or send one of the two.",
    ("invalid_request", "actor"): "Omit both.",
    ("invalid_request", "chain_too_long"): "Call the API at the end of the chain with the client's own token.",
    ("invalid_request", "request_size"): "Ask for fewer resources and scopes, or send a shorter state.",
    ("invalid_request", ANY): "Exchange the token that a caller sent to this API, while it is valid.",
    ("invalid_request", "proof_missing"): "Enable DPoP in the client: see docs/dpop.md.",
    ("use_dpop_nonce", ANY): "Send the nonce of DPoP-Nonce; most libraries do so by themselves.",
    ("invalid_dpop_proof", "dpop_jkt"): "Omit dpop_jkt: the proof of a pushed request binds the code to its key.",
    ("invalid_dpop_proof", ANY): "Create a new proof for each request; the description has the error in this one.",
    ("invalid_client", "assertion_malformed"): "Send the JWT unchanged, as the library created it.",
    ("invalid_client", "assertion_client"): "Set iss and sub of the assertion to the client_id, <namespace>.<name>.",
    ("invalid_client", "no_credential"): "Send the credential in the OAuthClient's Secret, with the client's method.",
    ("invalid_client", "profile"): "Set spec.authentication.method of the OAuthClient to PrivateKeyJWT.",
    ("invalid_client", "authorization_scheme"): "Use Basic; Bearer is for the called service, not for this endpoint.",
    (
        "invalid_client",
        "malformed_basic",
    ): "Form-encode both halves, join them with a colon, and encode the result as base64.",
    ("invalid_client", ANY): (
        "Read the mounted Secret again: it may have been rotated. The issuer's audit line has the reason."
    ),
    ("unauthorized_client", "unauthorized_client"): "Add the grant type to spec.grantTypes of the OAuthClient.",
    ("unsupported_grant_type", "unsupported_grant_type"): "Use one that the metadata lists.",
    ("invalid_scope", "invalid_scope"): (
        "Request the scopes in status.access of the OAuthClient; the API's owner grants more with a ScopeGrant."
    ),
    ("invalid_target", "invalid_target"): (
        "Send one resource: the audience of a ResourceServer in spec.access, whose owner granted a scope."
    ),
    ("invalid_grant", ANY): (
        "Let the user log in again. A code is valid once, for a minute, with the redirect_uri and code_verifier of its "
        "request; a refresh token that rotates, until its successor is used. The issuer's audit line has the reason."
    ),
    ("temporarily_unavailable", "starting"): "Retry after Retry-After.",
    ("temporarily_unavailable", "no_id_token_key"): (
        "Retry after Retry-After; check that the SigningKey of spec.login exists, and that its status is Ready."
    ),
    ("temporarily_unavailable", "no_issuer_record"): "Retry after Retry-After; check that the operator runs.",
    ("temporarily_unavailable", "client_changed"): "Retry after Retry-After.",
    ("temporarily_unavailable", "no_nonce_key"): "Retry after Retry-After; the operator creates the key.",
    ("temporarily_unavailable", "no_session_store"): (
        "Enable users at every issuer that serves this URL: the subject token is one of a user."
    ),
    ("temporarily_unavailable", "no_signing_key"): (
        "Retry after Retry-After; check that the SigningKey exists, and that its status is Ready."
    ),
    ("temporarily_unavailable", "profile_algorithm"): (
        "Name a SigningKey of ES256, PS256 or Ed25519 in the ResourceServer: the profile FAPI2 allows no other."
    ),
    (
        "temporarily_unavailable",
        "store_unavailable",
    ): "Retry after Retry-After; the API server, or the replay store, is unavailable.",
    ("temporarily_unavailable", "session_store_not_shared"): (
        "Replicas of the issuer have different session stores, so users are refused: set `users.sessions.valkey`, or "
        "run one replica of the issuer. Clients get their own tokens meanwhile."
    ),
    ("temporarily_unavailable", "provider_unavailable"): (
        "Retry after Retry-After; the identity provider of the user has not answered for `upstreamCheck.maxAge`."
    ),
    ("temporarily_unavailable", "too_many_refusals"): (
        "Retry after Retry-After; there were many wrong credentials at once. The issuer accepts a new credential once "
        "it has seen its record, and never delays known ones."
    ),
    ("temporarily_unavailable", ANY): (
        "Wait as long as Retry-After says. A client has at most 1,000 pushed requests in 90 s, a namespace 5,000, and "
        "public clients of one address 5 a second: push only when a user logs in."
    ),
    ("temporarily_unavailable", f"store_rejected_{ANY}"): "Check the issuer's RBAC: the API server refused a read.",
    ("server_error", "exception"): "Report it, with the exception in the issuer's log.",
    ("not_found", "not_found"): "Use the endpoints in the metadata.",
}
"""By error code and audit reason."""

VERIFIER_TO_DO: Final = {
    "algorithm": "Choose a SigningKey with an algorithm that the service accepts, or allow it there.",
    "proof": "Create a new proof for each request; the description has the error in this one.",
    "proof_nonce": "Create the proof again, with the nonce of the header DPoP-Nonce.",
    "subprotocol": "Offer one more subprotocol, which the application selects.",
}
"""Where the text of the refusal itself does not say, after a semicolon."""


@dataclass(frozen=True)
class Error:
    error: str
    status: str
    description: str
    reason: str
    advises: bool = False
    """Whether the description says by itself what to change."""


@dataclass(frozen=True)
class Helper:
    """A function that makes an OAuthError of a description that it is given."""

    error: str
    status: str


def issuer_errors() -> list[Error]:
    trees = _trees()
    helpers = {"OAuthError": Helper("", "400")}
    while more := {
        function.name: helper
        for tree in trees
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name not in {*helpers, transport_refusal.__name__}
        if (helper := _as_helper(function, helpers))
    }:
        helpers |= more
    found = {error for tree in trees for call in ast.walk(tree) for error in _raised(call, helpers)}
    return sorted(found, key=lambda e: (e.status, e.error, e.reason, e.description))


def _trees(room: Path = ISSUER) -> list[ast.Module]:
    return [ast.parse(file.read_text(), str(file)) for file in sorted(room.rglob("*.py"))]


def transport_errors() -> list[tuple[int, str, str]]:
    """What the server refuses before anybody reads the request: status, error code, description."""
    found = set()
    for node in (node for tree in _trees(HTTP) for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and _name(node) in ("RequestRefused", "refuse") and len(node.args) == 2:
            status = node.args[0]
            if isinstance(status, ast.Attribute) and _name_of(status.value) == "HTTPStatus":
                found |= {(int(HTTPStatus[status.attr]), text) for text in _text(node.args[1])}
    answers = ((status, json.loads(transport_refusal(status, text).body)) for status, text in sorted(found))
    return [(status, body["error"], body["error_description"]) for status, body in answers]


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def hidden_reasons() -> list[str]:
    """Audit reasons that the response does not contain: those of `CredentialRefused` without advice."""
    calls = (node for tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sorted(
        {
            reason
            for call in calls
            if _name(call) == "CredentialRefused" and len(call.args) == 1
            for reason in _text(call.args[0])
        }
    )


def _as_helper(function: ast.FunctionDef, helpers: dict[str, Helper]) -> Helper | None:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _name(node) in helpers and _forwards(node, function):
            made = helpers[_name(node)]
            error = made.error or _text(node.args[0])[0]
            given = _keyword(node, "status")
            if isinstance(given, ast.Name):
                defaults = dict(zip((a.arg for a in function.args.kwonlyargs), function.args.kw_defaults, strict=True))
                given = defaults.get(given.id)
            return Helper(error, _text(given)[0] if given is not None else made.status)
    return None


def _forwards(call: ast.Call, function: ast.FunctionDef) -> bool:
    parameters = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    return any(isinstance(a, ast.Name) and a.id == "description" and a.id in parameters for a in call.args)


def _raised(node: ast.AST, helpers: dict[str, Helper]) -> Iterator[Error]:
    if isinstance(node, ast.Dict):
        yield from _answered(node)
    if isinstance(node, ast.Call) and _name(node) == "CredentialRefused" and len(node.args) == 2:
        why = _text(node.args[0])[0]
        yield from (Error("invalid_client", "401", text, why, advises=True) for text in _text(node.args[1]))
    if not isinstance(node, ast.Call) or _name(node) not in helpers:
        return
    helper = helpers[_name(node)]
    arguments = node.args if helper.error else node.args[1:]
    if not arguments or (isinstance(arguments[0], ast.Name) and arguments[0].id == "description"):
        return
    error = helper.error or _text(node.args[0])[0]
    reason, status = _keyword(node, "reason"), _keyword(node, "status")
    made = Error(error, _text(status)[0] if status else helper.status, "", _text(reason)[0] if reason else error)
    yield from (replace(made, description=text) for text in _text(arguments[0]))


def _answered(node: ast.Dict) -> Iterator[Error]:
    """A response that is not an OAuthError: a literal with its own `error`. All of them have the status 404."""
    pairs = zip(node.keys, node.values, strict=True)
    members = {key.value: value for key, value in pairs if isinstance(key, ast.Constant)}
    if isinstance(members.get("error"), ast.Constant) and "error_description" in members:
        error = _text(members["error"])[0]
        yield Error(error, "404", _text(members["error_description"])[0], error)


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _text(node: ast.expr) -> list[str]:
    """Every text that the expression can have; `ANY` for the parts that the source does not show."""
    match node:
        case ast.Constant(value=value):
            return [str(value)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [a + b for a, b in itertools.product(_text(left), _text(right))]
        case ast.IfExp(body=body, orelse=orelse):
            return [*_text(body), *_text(orelse)]
        case ast.BoolOp(values=values):
            return [text for value in values for text in _text(value) if text != ANY]
        case ast.JoinedStr(values=values):
            return ["".join(parts) for parts in itertools.product(*(_text(value) for value in values))]
        case _:
            return [ANY]


def page() -> str:
    lines = [
        "# Errors",
        "",
        "All errors of issuer, verifier and gateway, with the fix for each. `make docs` generates this page from the",
        "code. `…` stands for a value of the running process.",
        "",
        "## Issuer",
        "",
        "Responses are JSON with `error` and `error_description`, and `Cache-Control: no-store` (RFC 6749 §5.2). The",
        "audit reason is only in the audit line, because the response must not disclose it. 401 has",
        "`WWW-Authenticate: Basic` if the request used Basic or no credentials (never with profile FAPI2). 503 has",
        "`Retry-After`. `/userinfo` answers as a service does ([Verifier](#verifier)), and",
        "[Users](users/index.md#errors) has the errors of `/authorize`, which are those of `/par` too.",
        "",
        "| status | error | description | audit reason | what to change |",
        "| --- | --- | --- | --- | --- |",
    ]
    errors = issuer_errors()
    unraised = TO_DO.keys() - {(e.error, e.reason) for e in errors}
    missing = {(e.error, e.reason) for e in errors if not e.advises} - TO_DO.keys()
    if missing or unraised:
        sys.exit(f"docs/errors.py: TO_DO lacks {sorted(missing)}, and {sorted(unraised)} are never raised")
    for e in errors:
        reason = "" if e.reason == ANY else f"`{e.reason}`"
        to_do = "See the description." if e.advises else TO_DO[e.error, e.reason]
        lines.append(f"| {e.status} | `{e.error}` | {e.description} | {reason} | {to_do} |")
    hidden = ", ".join(f"`{reason}`" for reason in hidden_reasons())
    lines += ["", f"Audit reasons of a failed client authentication that are not in the response: {hidden}."]
    lines += [
        "",
        "The server may refuse a request before it is read completely, in the same format, and close the connection:",
        "",
        "| status | error | description |",
        "| --- | --- | --- |",
        *(f"| {status} | `{error}` | {description} |" for status, error, description in transport_errors()),
    ]
    lines += [
        "",
        "## Verifier",
        "",
        "Responses of a service with `scopewright.verifier`, in JSON and in `WWW-Authenticate: Bearer` (RFC 6750 §3):",
        "the description, a semicolon, and what to change. The reason is `TokenRejected.reason`, for logs and metrics.",
        "",
        "| status | error | description | reason | what to change |",
        "| --- | --- | --- | --- | --- |",
    ]
    for why, text in ADVICE.items():
        status, error = code_of(why)
        lines.append(_verifier_line(str(status), error or "", text.replace("{}", ANY), why.value))
    for text in (KeysUnavailable().description, NO_ANSWER, TOO_MANY_PROOFS):
        lines.append(_verifier_line(str(KeysUnavailable.status), "temporarily_unavailable", text, ""))
    lines += [
        "",
        "## Gateway",
        "",
        "The gateway answers as the verifier does, and with these errors of its own. The profiles `nginx` and",
        "`ingress-nginx` answer 403 in place of 400, with the same error. Until the gateway has read the rules, it",
        "answers 503.",
        "",
        "| status | error | description | reason | what to change |",
        "| --- | --- | --- | --- | --- |",
    ]
    for gateway_reason, text in gateway.ADVICE.items():
        status, error = gateway.code_of(gateway_reason)
        lines.append(_verifier_line(str(status), error or "", text.replace("{}", ANY), gateway_reason.value))
    return "\n".join([*lines, ""])


def _verifier_line(status: str, error: str, text: str, reason: str) -> str:
    description, _, advice = text.partition("; ")
    to_do = VERIFIER_TO_DO[reason] if reason in VERIFIER_TO_DO else advice and f"{advice[0].upper()}{advice[1:]}."
    if not to_do and description.startswith("Send "):
        to_do = f"{description}."
    if not to_do:
        sys.exit(f"docs/errors.py: VERIFIER_TO_DO lacks {reason!r}")
    codes = [f"`{code}`" if code else "" for code in (error, reason)]
    return f"| {status} | {codes[0]} | {description} | {codes[1]} | {to_do} |"


def main() -> None:
    keep(PAGE, page())


if __name__ == "__main__":
    main()
