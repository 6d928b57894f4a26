"""The decision about each step, without I/O."""

from typing import Any

import pytest

from scopewright.core.records.client import RequestedAccess
from scopewright.core.users import User
from scopewright.issuer.protocol.request import decode_form
from scopewright.issuer.state.providers import ProviderIndex
from scopewright.issuer.users.authorization_request import AuthorizationRequest, read
from scopewright.issuer.users.flow import (
    AskConsent,
    IssueCode,
    SendError,
    ShowConsent,
    ShowLogin,
    ShowRefusal,
    after_consent,
    decide,
)
from scopewright.issuer.users.login_policy import DEVELOPER, LoginPolicy
from scopewright.issuer.users.stored import Session
from tests.harness.users import REDIRECT_URI, delegating_record, parameters, provider_of, registry_of, web_record

NOW = 1_000_000.0
LOOPBACK = "http://127.0.0.1/callback"
READ = frozenset(("payroll.read",))
DEVELOPERS = LoginPolicy(ProviderIndex(), lambda: True)
PAYROLL_READ = RequestedAccess("payroll/payroll-api", ("payroll.read",))


def session_of(subject: str = "u-ada", **changes: Any) -> Session:
    fields: dict[str, Any] = {
        "sid": "sid",
        "secret_sha256": "",
        "subject": subject,
        "provider": DEVELOPER,
        "provider_uid": DEVELOPER,
        "groups": ("hr-staff",),
        "auth_time": int(NOW) - 100,
        "end_time": int(NOW) + 100,
        "seen_time": int(NOW),
        "checked_time": int(NOW),
    }
    return Session(**fields | changes)


def request_of(record: Any = None, hint: str = "u-ada", **changes: Any) -> AuthorizationRequest:
    form = decode_form("&".join(f"{n}={v}" for n, v in parameters(**changes).items()).encode())
    return read(form, registry_of(delegating_record(), record or web_record()), lambda token: hint)


def native(**changes: Any) -> AuthorizationRequest:
    record = web_record(public=True, redirect_uris=(LOOPBACK,), consent="Skip")
    return request_of(record, redirect_uri=LOOPBACK, **changes)


def decided(
    request: AuthorizationRequest,
    session: Session | None = None,
    scopes: frozenset[str] = READ,
    *,
    fresh: bool = False,
    covered: bool = False,
    policy: LoginPolicy = DEVELOPERS,
) -> object:
    found = decide(request, session, policy, lambda requested, user: scopes, NOW, fresh=fresh)
    return after_consent(request, found, covered=covered) if isinstance(found, AskConsent) else found


def error_of(found: object) -> str:
    assert isinstance(found, SendError)
    return found.error


# Login


@pytest.mark.parametrize(
    ("changes", "session", "fresh", "logs_in"),
    [
        ({}, None, False, True),
        ({}, session_of(), False, False),
        ({"prompt": "login"}, session_of(), False, True),
        ({"prompt": "login"}, session_of(), True, False),
        ({"prompt": "select_account"}, session_of(), False, True),
        ({"prompt": "select_account"}, session_of(), True, False),
        ({"prompt": "consent"}, session_of(), False, False),
        ({"max_age": "100"}, session_of(), False, False),
        ({"max_age": "99"}, session_of(), False, True),
        ({"max_age": "0"}, session_of(auth_time=int(NOW) - 1), False, True),
        ({"max_age": "0"}, session_of(auth_time=int(NOW)), False, True),
        ({"max_age": "0"}, session_of(), True, False),
    ],
)
def test_a_login_is_needed_without_a_recent_enough_one(
    changes: dict[str, Any], session: Session | None, fresh: bool, logs_in: bool
) -> None:
    assert isinstance(decided(request_of(**changes), session, fresh=fresh), ShowLogin) is logs_in


@pytest.mark.parametrize("max_age", [None, "99"])
def test_prompt_none_never_shows_the_login(max_age: str | None) -> None:
    session = session_of() if max_age else None
    assert error_of(decided(request_of(prompt="none", max_age=max_age), session)) == "login_required"


@pytest.mark.parametrize("prompt", [None, "none"])
def test_a_hint_of_another_user_needs_a_login(prompt: str | None) -> None:
    request = request_of(prompt=prompt, id_token_hint="ey", hint="u-eve")
    assert error_of(decided(request, session_of("u-ada"), covered=True)) == "login_required"
    assert isinstance(decided(request, session_of("u-eve"), covered=True), IssueCode)


def test_a_hint_shows_the_login_if_nobody_is_logged_in() -> None:
    assert isinstance(decided(request_of(id_token_hint="ey")), ShowLogin)


# Login policy and access


COMPANY = {"identity_providers": ("company",)}


@pytest.mark.parametrize(
    ("login", "of_user", "allowed"),
    [
        (COMPANY, {}, True),
        (COMPANY, {"provider": "other"}, False),
        (COMPANY, {"provider_uid": "that of an earlier company"}, False),
        ({"identity_providers": ("other",)}, {"provider": "other"}, True),
        ({"identity_providers": ("deleted",)}, {"provider": "deleted"}, False),
        ({}, {}, False),  # two providers, and none is named
        (COMPANY, {"provider": DEVELOPER, "provider_uid": DEVELOPER}, False),
        (COMPANY | {"allowed_groups": ("hr-staff",)}, {"groups": ("hr-staff", "x")}, True),
        (COMPANY | {"allowed_groups": ("hr-staff",)}, {"groups": ("hr-staff2",)}, False),
        (COMPANY | {"allowed_groups": ()}, {}, False),
    ],
)
def test_the_login_policy(login: dict[str, Any], of_user: dict[str, Any], allowed: bool) -> None:
    record, providers = web_record(**login), ProviderIndex()
    for name in ("company", "other"):
        providers.put(provider_of(name))
    policy = LoginPolicy(providers, lambda: True)
    session = session_of(
        **{"provider": "company", "provider_uid": f"uid-of-{of_user.get('provider', 'company')}"} | of_user
    )
    assert (policy.refusal_of(record.login, session) == "") is allowed
    assert isinstance(decided(request_of(record), session, policy=policy), ShowRefusal) is not allowed
    silent = decided(request_of(record, prompt="none"), session, covered=True, policy=policy)
    assert isinstance(silent, IssueCode) if allowed else error_of(silent) == "access_denied"


def test_the_only_provider_needs_no_name() -> None:
    providers = ProviderIndex()
    providers.put(company := provider_of("company"))
    policy, login = LoginPolicy(providers), web_record().login
    assert login is not None
    assert policy.offered(login) == (company,)
    assert policy.refusal_of(login, session_of(provider="company", provider_uid="uid-of-company")) == ""


def test_the_developer_login_stands_in_for_every_provider() -> None:
    assert DEVELOPERS.refusal_of(web_record(**COMPANY).login, session_of()) == ""
    assert LoginPolicy(ProviderIndex()).refusal_of(web_record().login, session_of()) != ""


def test_a_client_without_login_admits_nobody() -> None:
    assert DEVELOPERS.refusal_of(None, session_of()) != ""


def test_no_provider_of_a_cluster_can_have_the_name_of_the_developer_login() -> None:
    assert " " in DEVELOPER


def test_scopes_are_narrowed_to_those_of_the_user() -> None:
    found = decided(request_of(scope="openid payroll.read payroll.write"), session_of(), covered=True)
    assert isinstance(found, IssueCode)
    assert (found.delegated.scopes, found.delegated.access) == (("openid",), (PAYROLL_READ,))
    assert (found.delegated.subject, found.delegated.sid) == ("u-ada", "sid")


def test_the_access_is_that_of_this_user() -> None:
    asked: list[tuple[RequestedAccess, User]] = []

    def scopes_of(requested: RequestedAccess, user: User) -> frozenset[str]:
        asked.append((requested, user))
        return READ

    decide(request_of(), session_of("u-eve", groups=("guests",)), DEVELOPERS, scopes_of, NOW, fresh=False)
    assert asked == [(PAYROLL_READ, User("u-eve", ("guests",)))]


def test_a_user_without_any_scope_of_an_api_gets_a_page_that_names_it() -> None:
    found = decided(request_of(), session_of(), frozenset())
    assert isinstance(found, ShowRefusal)
    assert found.missing == (PAYROLL_READ,)
    assert error_of(decided(request_of(prompt="none"), session_of(), frozenset())) == "access_denied"


def test_scopes_of_openid_connect_need_no_grant() -> None:
    assert isinstance(decided(request_of(scope="openid email"), session_of(), frozenset(), covered=True), IssueCode)


# Consent


@pytest.mark.parametrize(
    ("record", "prompt", "covered", "asks"),
    [
        ({}, None, False, True),
        ({}, None, True, False),
        ({}, "consent", True, True),
        ({"consent": "Skip"}, None, False, False),
        ({"consent": "Skip"}, "consent", False, True),
    ],
)
def test_a_consent_is_needed_once(record: dict[str, Any], prompt: str | None, covered: bool, asks: bool) -> None:
    found = decided(request_of(web_record(**record), prompt=prompt), session_of(), covered=covered)
    assert isinstance(found, ShowConsent if asks else IssueCode)


def test_prompt_none_never_shows_the_consent() -> None:
    assert error_of(decided(request_of(prompt="none"), session_of())) == "consent_required"
    assert isinstance(decided(request_of(prompt="none"), session_of(), covered=True), IssueCode)


@pytest.mark.parametrize("covered", [False, True])
def test_a_native_application_is_confirmed_each_time(covered: bool) -> None:
    assert isinstance(decided(native(), session_of(), covered=covered), ShowConsent)
    assert error_of(decided(native(prompt="none"), session_of(), covered=covered)) == "interaction_required"


def test_a_public_client_on_the_web_is_as_any_other() -> None:
    request = request_of(web_record(public=True), redirect_uri=REDIRECT_URI)
    assert isinstance(decided(request, session_of(), covered=True), IssueCode)


def test_the_code_is_bound_to_the_key_of_the_request() -> None:
    jkt = "k" * 43
    found = decided(request_of(dpop_jkt=jkt), session_of(), covered=True)
    assert isinstance(found, IssueCode)
    assert found.delegated.jkt == jkt
