"""The previous release grants less on records and manifests with logins, never more."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from scopewright.core.records.client import ClientRecord, Login
from scopewright.core.records.identity_provider import IdentityProviderRecord, UpstreamClient
from scopewright.core.records.written_by_issuers import (
    MAX_SESSION_STORES,
    SessionStoreReport,
    UsageRecord,
    usage_key,
)
from tests.cases.crd_rules import manifest
from tests.cases.login_rules import login, public
from tests.cases.provider_rules import openid
from tests.harness.clock import START
from tests.harness.previous_release import PreviousRelease, TokenAnswer, TokenRequest
from tests.harness.samples import PAYROLL, SECRET, client_record

LOGIN = Login(("https://hr.example/callback",), consent="Skip", allowed_groups=("hr-staff",))
USERS_ONLY = ("authorization_code", "refresh_token")


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> PreviousRelease:
    return PreviousRelease(tmp_path_factory.mktemp("previous"))


def _requests(client: ClientRecord) -> list[TokenRequest]:
    """With the secret, without, with an empty one; for each grant type that it could take for its own."""
    return [
        TokenRequest(client.client_id, secret, {"grant_type": grant, "resource": PAYROLL, "code": "a"})
        for secret in (SECRET, None, "")
        for grant in ("client_credentials", *USERS_ONLY)
    ]


def _granted(answer: TokenAnswer) -> tuple[int, str, frozenset[str]]:
    return answer.status, answer.error, answer.scopes


def test_a_public_client_is_refused(previous: PreviousRelease) -> None:
    """Its record has method ClientSecret and no credential, whatever its grant types."""
    for grant_types in (USERS_ONLY, ("client_credentials", *USERS_ONLY)):
        record = replace(client_record(), credentials=(), public=True, login=LOGIN, grant_types=grant_types)
        answers = previous.tokens([record], _requests(record))
        assert {(a.status, a.error) for a in answers} <= {(401, "invalid_client"), (400, "unsupported_grant_type")}
        assert all(not answer.claims for answer in answers)


def test_a_client_that_acts_for_users_only_gets_no_token(previous: PreviousRelease) -> None:
    record = replace(client_record(), login=LOGIN, grant_types=USERS_ONLY)
    answers = previous.tokens([record], _requests(record))
    assert all(not answer.claims for answer in answers)
    assert {a.error for a in answers} <= {"unauthorized_client", "unsupported_grant_type", "invalid_client"}


def test_a_login_adds_nothing_to_a_client_that_acts_for_itself_too(previous: PreviousRelease) -> None:
    before = client_record()
    record = replace(before, login=LOGIN, grant_types=("client_credentials", *USERS_ONLY), dpop_required=True)
    request = TokenRequest(record.client_id, SECRET, {"resource": PAYROLL})
    [without], [with_login] = previous.tokens([before], [request]), previous.tokens([record], [request])
    assert without.scopes == with_login.scopes == {"payroll.read"}
    for grant in USERS_ONLY:
        [answer] = previous.tokens([record], [replace(request, parameters={"grant_type": grant, "code": "a"})])
        assert answer.status == 400
        assert not answer.claims


def test_a_client_that_must_push_gets_what_it_had(previous: PreviousRelease) -> None:
    """A release without /authorize and /par logs in no user, pushed or not."""
    record = replace(client_record(), login=replace(LOGIN, pushed_requests_required=True), grant_types=USERS_ONLY)
    assert all(not answer.claims for answer in previous.tokens([record], _requests(record)))


def test_records_of_identity_providers_are_ignored(previous: PreviousRelease) -> None:
    google = UpstreamClient("https://accounts.google.com", "scopewright", offline_access="AccessType")
    providers = [
        IdentityProviderRecord("company", "uid-company", "Company", "https://login.example", google),
        IdentityProviderRecord("staff", "uid-staff", "Staff", "static:staff", revoked_before=START),
    ]
    clients = [
        client_record(),
        replace(client_record(), name="web", uid="uid-web", login=LOGIN, grant_types=USERS_ONLY),
    ]
    requests = [request for client in clients for request in _requests(client)]
    with_providers = previous.tokens(clients, requests, providers)
    without = previous.tokens(clients, requests)
    assert [_granted(answer) for answer in with_providers] == [_granted(answer) for answer in without]
    assert any(answer.claims for answer in without)


def test_a_usage_record_with_session_stores_is_read_and_written(previous: PreviousRelease) -> None:
    """It forgets the reports of session stores, which issuers of this release write again."""
    client = client_record()
    [credential] = client.credentials
    minute = int(START.timestamp() // 60)
    reports = {f"{n:016x}": SessionStoreReport(n, {f"{n + 1:016x}": n}) for n in range(2 * MAX_SESSION_STORES)}
    other = usage_key("f" * 64)
    before = UsageRecord(START, {usage_key(credential.sha256): minute - 60, other: minute}, reports)
    after, uses = previous.usage(before, TokenRequest(client.client_id, SECRET, {"resource": PAYROLL}))
    assert after == UsageRecord(START, {usage_key(credential.sha256): minute, other: minute})
    assert uses == {credential.sha256: datetime.fromtimestamp(minute * 60, UTC)}


def test_a_manifest_with_a_login_is_refused_and_its_object_ignored(previous: PreviousRelease) -> None:
    """An object that the new API server accepted keeps the record that it has."""
    for spec in (login(), login(requirePushedAuthorizationRequests=True), public(login())):
        reason, violations = previous.refuses(manifest("OAuthClient", spec))
        assert reason
        assert violations
    assert previous.refuses(manifest("OAuthClient")) == ("", [])


def test_an_identity_provider_is_a_kind_that_it_does_not_have(previous: PreviousRelease) -> None:
    """No user logs in at it: its manifest is no object of that release."""
    for spec in ({}, openid(offlineAccess="AccessType"), {"revokedBefore": "2026-11-29T00:00:00Z"}):
        reason, violations = previous.refuses(manifest("IdentityProvider", spec))
        assert reason
        assert [violation.partition(":")[0] for violation in violations] == ["kind"]
