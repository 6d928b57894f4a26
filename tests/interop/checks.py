"""Checks of the output of a library, for each capability."""

from collections.abc import Callable
from typing import Any, Final

import httpx
import jwt

from scopewright.verifier import Verifier
from tests.interop.interop_issuer import EMPLOYEES, PAYROLL, SERVER, WORKER, InteropIssuer
from tests.interop.libraries import Library
from tests.interop.served import Capability

Output = dict[str, Any]
Check = Callable[[Output, InteropIssuer, Library], None]


def _discovery(output: Output, issuer: InteropIssuer, library: Library) -> None:
    url = issuer.running.url
    assert output["issuer"] == url
    assert output["token_endpoint"] == f"{url}/token"
    assert output["jwks_uri"] == f"{url}/jwks.json"
    assert output.get("missed", []) == []


def _token(
    output: Output, issuer: InteropIssuer, library: Library, *, client: str = WORKER, audience: str = PAYROLL
) -> None:
    assert output["token_type"].lower() == "bearer"
    assert output["expires_in"] == 600
    assert output["scope"] == ("payroll.read" if audience == PAYROLL else "employee.read")
    assert "refresh_token" not in output
    verified = Verifier(issuer.running.url, audience).verify_sync(output["access_token"])
    assert verified.client_id == client


def _assertion_token(output: Output, issuer: InteropIssuer, library: Library) -> None:
    _token(output, issuer, library, client="leave.leave-assertion")


def _refusals(output: Output, issuer: InteropIssuer, library: Library) -> None:
    """oauth4webapi and openid-client stop at a challenge; x/oauth2, Nimbus and Authlib read the body; not all report
    the status.
    """
    assert output["basic"].get("challenge") == "basic" or output["basic"]["error"] == "invalid_client"
    assert output["post"]["error"] == "invalid_client"
    assert output["scope"]["error"] == "invalid_scope"
    for name, status in (("basic", 401), ("post", 401), ("scope", 400)):
        assert output[name].get("status", status) == status


def _access_token(output: Output, issuer: InteropIssuer, library: Library) -> None:
    for algorithm, audience in issuer.algorithms().items():
        if algorithm in library.cannot_verify:
            assert "error" in output[algorithm], f"{library.name} verifies {algorithm} now: correct the table"
            continue
        claims = output[algorithm]
        assert claims["client_id"] == claims["sub"] == WORKER, claims
        assert claims["aud"] in (audience, [audience])
        assert claims["iss"] == issuer.running.url


def _introspection(output: Output, issuer: InteropIssuer, library: Library) -> None:
    active = output["active"]
    assert active["active"] is True
    assert (active["client_id"], active["scope"], active["iss"]) == (WORKER, "payroll.read", issuer.running.url)
    assert active["aud"] in (PAYROLL, [PAYROLL])
    assert output["unknown"] == {"active": False}


def _revocation(output: Output, issuer: InteropIssuer, library: Library) -> None:
    url = str(issuer.running.metadata()["introspection_endpoint"])
    server = issuer.running.secret("payroll", "payroll-server")
    answer = httpx.post(url, data={"token": output["access_token"]}, auth=server)
    assert answer.json() == {"active": False}


def _token_exchange(output: Output, issuer: InteropIssuer, library: Library) -> None:
    assert output["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    verified = Verifier(issuer.running.url, EMPLOYEES).verify_sync(output["access_token"])
    assert verified.subject == WORKER
    assert verified.client_id == SERVER
    assert verified.claims["act"]["sub"] == SERVER


def _dpop(output: Output, issuer: InteropIssuer, library: Library) -> None:
    """The token is bound to the library's key, by the thumbprint that the library itself computed."""
    assert output["token_type"].lower() == "dpop"
    assert "ES256" in output["algorithms"]
    claims = jwt.decode(output["access_token"], options={"verify_signature": False})
    assert claims["cnf"] == {"jkt": output["jkt"]}


CHECKS: Final[dict[Capability, Check]] = {
    Capability.OAUTH_DISCOVERY: _discovery,
    Capability.OPENID_DISCOVERY: _discovery,
    Capability.CLIENT_SECRET_BASIC: _token,
    Capability.CLIENT_SECRET_POST: _token,
    Capability.PRIVATE_KEY_JWT: _assertion_token,
    Capability.REFUSALS: _refusals,
    Capability.ACCESS_TOKEN: _access_token,
    Capability.INTROSPECTION: _introspection,
    Capability.REVOCATION: _revocation,
    Capability.TOKEN_EXCHANGE: _token_exchange,
    Capability.DPOP: _dpop,
}
