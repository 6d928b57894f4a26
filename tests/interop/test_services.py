"""Services without code of ours, as their pages have them, and the table of attacks on JWTs."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cases.attacks import Attack, Forge, attacks
from tests.interop.json_server import JsonServer
from tests.interop.services import AUDIENCE, SCOPE, SERVICES, Client, Service
from tests.interop.tolerated import TOLERATED, tolerated_by
from tests.unit.verifier.support import SigningKey

SKEW: Final = 400
"""Seconds. More than any of the libraries tolerates; go-oidc tolerates five minutes for `nbf`."""
REFUSED: Final = frozenset({400, 401, 403, 431})


class Issuer:
    """Metadata and one key, and the tokens that it signs."""

    def __init__(self, server: JsonServer) -> None:
        key, url = SigningKey("key-1"), server.url
        metadata = {
            "issuer": url,
            "jwks_uri": f"{url}/jwks.json",
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        for path in ("openid-configuration", "oauth-authorization-server"):
            server.documents[f"/.well-known/{path}"] = metadata
        server.documents["/jwks.json"] = {"keys": [key.jwk]}
        now = int(time.time())
        claims: dict[str, Any] = {"iss": url, "aud": AUDIENCE, "sub": "leave.leave-worker", "jti": "1"}
        claims |= {"client_id": "leave.leave-worker", "iat": now, "exp": now + 3600}
        self.url = url
        self.forge = Forge(key, claims | {"scope": SCOPE, "scopes": [SCOPE]}, now, skew=SKEW)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with JsonServer() as server:
        yield Issuer(server)


@pytest.fixture(scope="module", params=SERVICES, ids=lambda service: service.name)
def running(
    request: pytest.FixtureRequest, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, Client]]:
    service: Service = request.param
    with service.running(issuer.url, tmp_path_factory.mktemp(service.name)) as client:
        yield service, client


def test_attacks_are_refused_except_those_that_the_library_tolerates(
    running: tuple[Service, Client], issuer: Issuer
) -> None:
    service, client = running
    accepted = set()
    for attack in filter(_can_be_sent, attacks(issuer.forge)):
        status, _ = client.send(attack.token)
        # Nimbus: 503 for an unknown key, while it may not fetch the keys again.
        assert status in REFUSED | {200} or (service.name, status) == ("nimbus", 503), (attack.name, status)
        if status == 200:
            accepted.add(re.sub(r"\d{5,}", "N", attack.name))
    assert accepted == tolerated_by(service.name)
    assert client.send(issuer.forge.token()) == (200, "")


def test_token_without_the_scope_is_refused_with_403(running: tuple[Service, Client], issuer: Issuer) -> None:
    service, client = running
    for scopes in (["payroll.write"], ["payroll.readers", "payroll"], []):
        status, challenge = client.send(issuer.forge.claiming(scope=" ".join(scopes), scopes=scopes))
        assert status == 403
        assert "insufficient_scope" in challenge or service.name == "pyjwt"


def test_request_without_a_token_is_refused_with_401(running: tuple[Service, Client]) -> None:
    service, client = running
    status, challenge = client.send(None)
    assert status == 401
    assert challenge.startswith("Bearer") or service.name == "pyjwt"


def test_id_token_is_refused(running: tuple[Service, Client], issuer: Issuer) -> None:
    _, client = running
    token = issuer.forge.signed(issuer.forge.header(typ="JWT"), issuer.forge.payload(nonce="1", at_hash="x"))
    assert client.send(token)[0] == 401


def test_token_for_another_audience_is_refused(running: tuple[Service, Client], issuer: Issuer) -> None:
    _, client = running
    assert client.send(issuer.forge.claiming(aud="https://leave-api.leave.svc"))[0] == 401
    assert client.send(issuer.forge.claiming(aud=["https://leave-api.leave.svc", AUDIENCE]))[0] == 200


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_keys_that_cannot_be_fetched_are_no_refusal(service: Service, tmp_path: Path) -> None:
    with JsonServer() as server:
        issuer = Issuer(server)
        keys = server.documents.pop("/jwks.json")
        with service.running(issuer.url, tmp_path) as client:
            assert client.send(issuer.forge.token())[0] == service.unavailable
            server.documents["/jwks.json"] = keys
            assert client.send(issuer.forge.token())[0] == 200


def test_every_tolerated_attack_exists(issuer: Issuer) -> None:
    names = {re.sub(r"\d{5,}", "N", attack.name) for attack in attacks(issuer.forge)}
    assert set(TOLERATED) <= names
    assert {name for libraries in TOLERATED.values() for name in libraries.split()} == {
        service.name for service in SERVICES
    }


def _can_be_sent(attack: Attack) -> bool:
    """In an HTTP header: printable ASCII, and not so long that the server closes the connection while it is sent."""
    return attack.token.isascii() and attack.token.isprintable() and len(attack.token) < 100_000
