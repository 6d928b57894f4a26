"""How soon tokens of a user end: after a logout, a withdrawn consent and a withdrawn grant, at `scopewright dev`.

The figures are printed (`pytest -rP`); the bounds are those of a busy machine.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from scopewright.verifier import Reason, TokenRejected, Verifier
from tests.harness.browser import FormBrowser, walk_login
from tests.harness.html_page import Page
from tests.harness.login_issuer import PAYROLL, LoginIssuer, application
from tests.harness.relying_party import RelyingParty, TokenResponse

_REDIRECT_URI = "https://hr.example/callback"
_LONGEST_SECONDS = 60.0


@dataclass
class _LoggedIn:
    issuer: LoginIssuer
    browser: FormBrowser
    party: RelyingParty
    tokens: TokenResponse
    verifier: Verifier

    def is_refused(self) -> bool:
        """Whether a service with the feed refuses the access token."""
        try:
            self.verifier.verify_sync(self.tokens.access_token)
        except TokenRejected as rejected:
            return rejected.reason is Reason.REVOKED
        return False

    def is_inactive(self) -> bool:
        answer = self.party.post("/introspect", {"token": self.tokens.access_token})
        return not answer.raise_for_status().json()["active"]

    def has_no_new_token(self) -> bool:
        answer = self.party.refresh(self.tokens.refresh_token, resource=PAYROLL)
        assert answer.status_code in (200, 400), answer.text
        return answer.status_code == 400


@contextmanager
def _logged_in(folder: Path) -> Iterator[_LoggedIn]:
    folder.mkdir()
    web = application("hr-web", [_REDIRECT_URI])
    with LoginIssuer(folder, [web]) as issuer, FormBrowser(issuer.url) as browser, httpx.Client() as http:
        client_id, secret = issuer.secret("hr", "hr-web")
        party = RelyingParty(issuer.url, client_id, _REDIRECT_URI, secret)
        request = party.request(scope="openid payroll.read")
        tokens = party.tokens(request, walk_login(browser, request.url, "grace"))
        verifier = Verifier(issuer.url, PAYROLL, revocations=True, http=http)
        logged_in = _LoggedIn(issuer, browser, party, tokens, verifier)
        assert not logged_in.is_refused()
        assert not logged_in.is_inactive()
        assert not logged_in.has_no_new_token()
        time.sleep(1.1)  # a token of the same second would end too
        yield logged_in
        assert issuer.error_lines() == []


def _log_out(at: _LoggedIn) -> None:
    at.browser.open(f"{at.issuer.url}/logout?id_token_hint={at.tokens.id_token}")


def _withdraw_consent(at: _LoggedIn) -> None:
    page = at.browser.page(f"{at.issuer.url}/account")
    assert isinstance(at.browser.submit(page, "account", "withdraw-hr.hr-web"), Page)


def _withdraw_grant(at: _LoggedIn) -> None:
    [manifests] = at.issuer.state.parent.glob("manifests/all.yaml")
    documents = manifests.read_text().split("\n---\n")
    kept = [document for document in documents if '"hr-staff"' not in document]
    assert len(kept) == len(documents) - 1
    manifests.write_text("\n---\n".join(kept))


@pytest.mark.parametrize("event", [_log_out, _withdraw_consent, _withdraw_grant])
def test_tokens_of_a_user_end(tmp_path: Path, event: Callable[[_LoggedIn], None]) -> None:
    with _logged_in(tmp_path / "dev") as at:
        event(at)
        started = time.monotonic()
        expected = {
            "no new token": at.has_no_new_token,
            "inactive": at.is_inactive,
            "refused by the feed": at.is_refused,
        }
        seconds: dict[str, float] = {}
        while expected.keys() - seconds.keys():
            for name, has_happened in expected.items():
                if name not in seconds and has_happened():
                    seconds[name] = time.monotonic() - started
            assert time.monotonic() - started < _LONGEST_SECONDS, seconds
            time.sleep(0.1)
        print(event.__name__, {name: f"{after:.1f} s" for name, after in seconds.items()})
