"""The previous release grants less on records and manifests with logins, never more."""

from dataclasses import replace

import pytest

from scopewright.core.records.client import ClientRecord, Login
from tests.cases.crd_rules import manifest
from tests.cases.login_rules import login, public
from tests.harness.previous_release import PreviousRelease, TokenRequest
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


def test_a_manifest_with_a_login_is_refused_and_its_object_ignored(previous: PreviousRelease) -> None:
    """An object that the new API server accepted keeps the record that it has."""
    for spec in (login(), public(login())):
        reason, violations = previous.refuses(manifest("OAuthClient", spec))
        assert reason
        assert violations
    assert previous.refuses(manifest("OAuthClient")) == ("", [])


def test_an_identity_provider_is_a_kind_that_it_does_not_have(previous: PreviousRelease) -> None:
    """No user logs in at it: its manifest is no object of that release."""
    reason, violations = previous.refuses(manifest("IdentityProvider"))
    assert reason
    assert [violation.partition(":")[0] for violation in violations] == ["kind"]
