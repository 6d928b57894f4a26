"""`Verifier.from_env` reads three variables; arguments precede them."""

import inspect

import pytest

from scopewright.verifier import Verifier
from scopewright.verifier.options import VerifierOptions
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, token

LEAVE = "https://leave.hr.example"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWRIGHT_ISSUER", ISSUER)
    monkeypatch.setenv("SCOPEWRIGHT_AUDIENCE", AUDIENCE)
    monkeypatch.delenv("SCOPEWRIGHT_ALLOW_HTTP", raising=False)


def test_issuer_and_audience_are_those_of_the_environment() -> None:
    verifier = Verifier.from_env(http=FakeIssuer(KEY).client(), clock=Clock())
    assert verifier.verify_sync(token()).issuer == ISSUER


@pytest.mark.parametrize("several", [f"{AUDIENCE} {LEAVE}", f"{AUDIENCE},{LEAVE}", f" {AUDIENCE} ,\n{LEAVE},"])
def test_several_audiences_are_separated_by_spaces_or_commas(monkeypatch: pytest.MonkeyPatch, several: str) -> None:
    monkeypatch.setenv("SCOPEWRIGHT_AUDIENCE", several)
    assert Verifier.from_env().policy.audiences == (AUDIENCE, LEAVE)


@pytest.mark.parametrize("name", ["SCOPEWRIGHT_ISSUER", "SCOPEWRIGHT_AUDIENCE"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"set {name} to"):
        Verifier.from_env()


def test_arguments_precede_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWRIGHT_ALLOW_HTTP", "issuer.sso.svc")
    verifier = Verifier.from_env(issuer="https://other.example", audience=[LEAVE], scopes="payroll.read", leeway=5)
    policy = verifier.policy
    assert (policy.issuer, policy.audiences) == ("https://other.example", (LEAVE,))
    assert (set(policy.scopes), policy.leeway) == ({"payroll.read"}, 5)
    with pytest.raises(ValueError, match="allow_http"):
        Verifier.from_env(issuer="http://issuer.sso.svc", allow_http=())


def test_variables_are_not_needed_with_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCOPEWRIGHT_ISSUER")
    monkeypatch.delenv("SCOPEWRIGHT_AUDIENCE")
    assert Verifier.from_env(issuer=ISSUER, audience=AUDIENCE).policy.issuer == ISSUER


def test_plain_http_is_allowed_by_the_environment_for_from_env_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWRIGHT_ISSUER", "http://issuer.sso.svc:8080")
    monkeypatch.setenv("SCOPEWRIGHT_ALLOW_HTTP", "other.svc, issuer.sso.svc:8080")
    assert Verifier.from_env().policy.issuer == "http://issuer.sso.svc:8080"
    with pytest.raises(ValueError, match="https is needed"):
        Verifier("http://issuer.sso.svc:8080", AUDIENCE)


def test_subclass_makes_its_own_kind() -> None:
    class Ours(Verifier):
        pass

    assert type(Ours.from_env()) is Ours


def test_options_are_the_keyword_arguments_of_the_verifier() -> None:
    parameters = inspect.signature(Verifier.__init__).parameters.values()
    options = {p.name: p.annotation for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert VerifierOptions.__annotations__ == options
