"""What a library must have told of each capability; all of it is compared with what we know of the issuer."""

from collections.abc import Callable
from typing import Any, Final

import httpx
import jwt

from scopewright.verifier import Verifier
from tests.interop.interop_issuer import EMPLOYEES, PAYROLL, SERVER, WORKER, InteropIssuer
from tests.interop.libraries import Library
from tests.interop.served import Capability

Said = dict[str, Any]
Check = Callable[[Said, InteropIssuer, Library], None]


def _discovery(said: Said, issuer: InteropIssuer, library: Library) -> None:
    url = issuer.running.url
    assert said["issuer"] == url
    assert said["token_endpoint"] == f"{url}/token"
    assert said["jwks_uri"] == f"{url}/jwks.json"
    assert said.get("missed", []) == []


def _token(
    said: Said, issuer: InteropIssuer, library: Library, *, client: str = WORKER, audience: str = PAYROLL
) -> None:
    assert said["token_type"].lower() == "bearer"
    assert said["expires_in"] == 600
    assert said["scope"] == ("payroll.read" if audience == PAYROLL else "employee.read")
    assert "refresh_token" not in said
    verified = Verifier(issuer.running.url, audience).verify_sync(said["access_token"])
    assert verified.client_id == client


def _assertion_token(said: Said, issuer: InteropIssuer, library: Library) -> None:
    _token(said, issuer, library, client="leave.leave-assertion")


def _refusals(said: Said, issuer: InteropIssuer, library: Library) -> None:
    """oauth4webapi and openid-client stop at a challenge; x/oauth2, Nimbus and Authlib read the body; not all tell of
    the status.
    """
    assert said["basic"].get("challenge") == "basic" or said["basic"]["error"] == "invalid_client"
    assert said["post"]["error"] == "invalid_client"
    assert said["scope"]["error"] == "invalid_scope"
    for name, status in (("basic", 401), ("post", 401), ("scope", 400)):
        assert said[name].get("status", status) == status


def _access_token(said: Said, issuer: InteropIssuer, library: Library) -> None:
    for algorithm, audience in issuer.algorithms().items():
        if algorithm in library.cannot_verify:
            assert "error" in said[algorithm], f"{library.name} verifies {algorithm} by now: correct the table"
            continue
        claims = said[algorithm]
        assert claims["client_id"] == claims["sub"] == WORKER, claims
        assert claims["aud"] in (audience, [audience])
        assert claims["iss"] == issuer.running.url


def _introspection(said: Said, issuer: InteropIssuer, library: Library) -> None:
    active = said["active"]
    assert active["active"] is True
    assert (active["client_id"], active["scope"], active["iss"]) == (WORKER, "payroll.read", issuer.running.url)
    assert active["aud"] in (PAYROLL, [PAYROLL])
    assert said["unknown"] == {"active": False}


def _revocation(said: Said, issuer: InteropIssuer, library: Library) -> None:
    url = str(issuer.running.metadata()["introspection_endpoint"])
    server = issuer.running.secret("payroll", "payroll-server")
    answer = httpx.post(url, data={"token": said["access_token"]}, auth=server)
    assert answer.json() == {"active": False}


def _token_exchange(said: Said, issuer: InteropIssuer, library: Library) -> None:
    assert said["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    verified = Verifier(issuer.running.url, EMPLOYEES).verify_sync(said["access_token"])
    assert verified.subject == WORKER
    assert verified.client_id == SERVER
    assert verified.claims["act"]["sub"] == SERVER


def _dpop(said: Said, issuer: InteropIssuer, library: Library) -> None:
    """The token is bound to the library's key, by the thumbprint that the library itself computed."""
    assert said["token_type"].lower() == "dpop"
    assert "ES256" in said["algorithms"]
    claims = jwt.decode(said["access_token"], options={"verify_signature": False})
    assert claims["cnf"] == {"jkt": said["jkt"]}


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
