"""An installation that switches to `profile: FAPI2`, as a process: it keeps its state, and RS256 signs no longer."""

import json
from pathlib import Path
from typing import Any

import httpx
import jwt

from tests.conformance.fapi2.client import Client, Keys
from tests.conformance.fapi2.suite import CLIENTS, USER, Application, client_id, confidential
from tests.harness.browser import FormBrowser, walk_login
from tests.harness.login_issuer import CONFIG, LoginIssuer
from tests.harness.relying_party import RelyingParty

NAME = "suite"


def test_switch_keeps_the_state_and_signs_with_es256(tmp_path: Path) -> None:
    key, holder = Keys.make("ES256"), Keys.make("ES256")
    manifest = confidential(NAME, CLIENTS[NAME], key.jwk | {"kid": "k", "alg": key.algorithm})
    issuer = LoginIssuer(tmp_path, [manifest])
    party = RelyingParty(issuer.url, client_id(NAME), CLIENTS[NAME], token_type="DPoP")  # no password
    app = Application(party, Client(issuer.url, client_id(NAME), key, holder))
    with issuer:
        before = _log_in(app)
        assert _algorithm(before) == "RS256"
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({**CONFIG, "profile": "FAPI2"}))
    with issuer:
        metadata = party.metadata()
        assert metadata["id_token_signing_alg_values_supported"] == ["ES256"]
        published = {key["alg"] for key in httpx.get(metadata["jwks_uri"]).json()["keys"]}
        assert published == {"ES256", "RS256"}, "tokens of before the switch can be verified"
        refreshed = app.refresh(before["refresh_token"]).json()
        assert _algorithm(refreshed) == "ES256"
        assert _algorithm(_log_in(app)) == "ES256"
        assert not issuer.error_lines()


def _log_in(app: Application) -> dict[str, Any]:
    request = app.request()
    with FormBrowser(app.party.issuer) as browser:
        away = walk_login(browser, app.url(app.request_uri(request)), USER)
    response = app.redeem(request, app.party.code(request, away))
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def _algorithm(response: dict[str, Any]) -> Any:
    return jwt.get_unverified_header(response["id_token"])["alg"]
