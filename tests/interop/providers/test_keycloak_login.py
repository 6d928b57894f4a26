"""Users of a real Keycloak log in, with the settings of docs/users/providers/keycloak.md; then it changes its mind."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.documents import ROOT, document
from tests.harness.browser import Away
from tests.interop.keycloak import keycloak
from tests.interop.providers.installation import Installation, client_secret_of, hr_application
from tests.interop.providers.keycloak_realm import CLIENT_SECRET, LOGIN_FORM, PASSWORD, REALM, RealmAdmin, realm
from tests.interop.providers.users import Users
from tests.interop.providers.visitor import Provider, Visitor
from tests.interop.users.programs import command, running
from tests.pages.page import Page as DocumentedPage
from tests.ports import free_port

CHECK_SECONDS: Final = 60
"""`upstreamCheck.every`, the smallest."""
_PAGE: Final = DocumentedPage.of(document(ROOT / "docs/users/providers/keycloak.md"))
_PAGE_ISSUER: Final = "https://issuer.example.org"
_PAGE_KEYCLOAK: Final = "https://login.example.org"


@pytest.fixture(scope="module")
def authlib_home() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def installations(authlib_home: str, tmp_path_factory: pytest.TempPathFactory) -> list[Installation]:
    """Two, as the clock of one is moved. They start after Keycloak, which needs their URLs, as they need its URL."""
    authlib = hr_application("authlib", redirect_uri=f"{authlib_home}/callback")
    return [Installation(tmp_path_factory.mktemp("issuer"), hr_application("hr-web"), authlib) for _ in range(2)]


@pytest.fixture(scope="module")
def admin(installations: list[Installation], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealmAdmin]:
    client = json.loads(_PAGE.files["scopewright-client.json"])
    assert client["redirectUris"] == [f"{_PAGE_ISSUER}/callback/company"]
    assert client["secret"] == CLIENT_SECRET
    client["protocolMappers"].append(json.loads(_PAGE.files["realm-roles-mapper.json"]))
    client["redirectUris"] = [installation.callback_of("company") for installation in installations]
    with keycloak(realm(client), tmp_path_factory.mktemp("keycloak")) as url:
        yield RealmAdmin(url)


@pytest.fixture(scope="module")
def manifests(admin: RealmAdmin) -> list[dict[str, Any]]:
    """Those of the page: the Secret and the IdentityProvider."""
    text = _PAGE.files["company.yaml"]
    assert f"{_PAGE_KEYCLOAK}/realms/{REALM}" in text
    return list(yaml.safe_load_all(text.replace(_PAGE_KEYCLOAK, admin.url)))


@pytest.fixture(scope="module")
def issuer(installations: list[Installation], manifests: list[dict[str, Any]]) -> Iterator[Installation]:
    installation = installations[0]
    installation.declare("company", *manifests)
    with installation:
        installation.ready_of("company", "InForce")
        yield installation


@pytest.fixture(scope="module")
def checking(installations: list[Installation], manifests: list[dict[str, Any]]) -> Iterator[Installation]:
    """The issuer whose clock is moved. Its refreshes ask Keycloak as often as possible."""
    installation, [secret, provider] = installations[1], manifests
    every = {"upstreamCheck": {"every": f"{CHECK_SECONDS}s"}}
    installation.declare("company", secret, provider | {"spec": provider["spec"] | every})
    with installation:
        installation.ready_of("company", "InForce")
        yield installation


@pytest.fixture
def users(issuer: Installation) -> Users:
    return Users(issuer.relying_party("hr-web"), PASSWORD)


@pytest.fixture
def visitor(issuer: Installation, admin: RealmAdmin) -> Iterator[Visitor]:
    with Visitor(issuer.url, Provider("company", admin.url, LOGIN_FORM)) as visitor:
        yield visitor


@pytest.fixture
def checked_users(checking: Installation) -> Users:
    return Users(checking.relying_party("hr-web"), PASSWORD)


@pytest.fixture
def checked(checking: Installation, admin: RealmAdmin) -> Iterator[Visitor]:
    """A user of `checking`."""
    with Visitor(checking.url, Provider("company", admin.url, LOGIN_FORM)) as visitor:
        yield visitor


def test_group_in_keycloak_gives_a_scope(users: Users, visitor: Visitor) -> None:
    tokens = users.log_in(visitor, "ada")
    token = users.access(tokens)
    assert (set(token.scopes), set(token.roles)) == ({"payroll.read"}, set())
    assert token.subject == tokens.claims["sub"]
    assert token.subject.startswith("u-")
    assert tokens.claims["groups"] == ["hr-staff"]
    assert tokens.claims["preferred_username"] == "ada"
    assert (tokens.claims["name"], tokens.claims["email"]) == ("Ada Example", "ada@hr.example")


def test_group_in_keycloak_gives_a_role(users: Users, visitor: Visitor) -> None:
    token = users.access(users.log_in(visitor, "grace"))
    assert set(token.roles) == {"payroll-manager"}
    assert set(token.scopes) == {"payroll.read", "payroll.write"}


def test_group_that_is_not_allowed_is_ignored(users: Users, visitor: Visitor) -> None:
    """Keycloak gives Ada the group `everyone`, too."""
    assert "everyone" not in users.log_in(visitor, "ada").claims["groups"]


def test_user_without_groups_has_no_access(users: Users, visitor: Visitor) -> None:
    assert "no-access" in users.see_page(visitor, "mallory").texts


def test_subject_is_the_same_in_another_browser(
    users: Users, visitor: Visitor, issuer: Installation, admin: RealmAdmin
) -> None:
    subject = users.log_in(visitor, "ada").claims["sub"]
    with Visitor(issuer.url, visitor.provider) as other:
        assert users.log_in(other, "ada").claims["sub"] == subject
    with Visitor(issuer.url, visitor.provider) as other:
        assert users.log_in(other, "grace").claims["sub"] != subject


@pytest.mark.parametrize("parameter", [{"prompt": "login"}, {"max_age": "0"}], ids=["prompt", "max_age"])
def test_fresh_login_is_one_at_keycloak(parameter: dict[str, str], users: Users, visitor: Visitor) -> None:
    first = users.log_in(visitor, "ada")
    time.sleep(1.1)  # auth_time has whole seconds
    assert users.log_in(visitor, "ada").claims["auth_time"] == first.claims["auth_time"]
    assert visitor.forms_shown == 1
    fresh = users.log_in(visitor, "ada", **parameter)
    assert visitor.forms_shown == 2
    assert fresh.claims["auth_time"] > first.claims["auth_time"]
    assert fresh.claims["sub"] == first.claims["sub"]


def test_library_of_an_application_sees_the_user(
    issuer: Installation, users: Users, visitor: Visitor, authlib_home: str, tmp_path: Path
) -> None:
    started = [*command("authlib"), "--port", authlib_home.rpartition(":")[2]]
    environment = {"HOME_URL": authlib_home, "SCOPEWRIGHT_SECRET_DIR": str(issuer.secret_folder("hr", "authlib"))}
    with running(started, authlib_home, environment, tmp_path / "log"):
        at_keycloak = visitor.issuer.open(f"{authlib_home}/login")
        away = visitor.return_from_provider(at_keycloak, "ada", PASSWORD)
        assert isinstance(away, Away), away
        visitor.issuer.open(away.url)
        profile = json.loads(visitor.issuer.page(authlib_home).html)
    assert profile["userinfo"]["groups"] == ["hr-staff"]
    assert profile["user"]["sub"] == profile["userinfo"]["sub"]


def test_login_works_after_keycloak_has_rotated_its_key(users: Users, visitor: Visitor, admin: RealmAdmin) -> None:
    admin.rotate_key()
    assert users.log_in(visitor, "ada").claims["groups"] == ["hr-staff"]


def test_realm_roles_can_be_groups(
    issuer: Installation, manifests: list[dict[str, Any]], users: Users, visitor: Visitor
) -> None:
    [secret, provider] = manifests
    mappings = {"groups": {"path": ["realm_access", "roles"], "allow": ["hr-*"]}}
    issuer.declare("company", secret, provider | {"spec": provider["spec"] | {"claimMappings": mappings}})
    issuer.wait_for_record("company", "record.json", "realm_access")
    try:
        assert users.log_in(visitor, "ada").claims["groups"] == ["hr-staff"]
    finally:
        issuer.declare("company", *manifests)
        issuer.wait_for_record("company", "record.json", "payroll-managers")


def test_wrong_client_secret_is_reported_and_can_be_corrected(
    issuer: Installation, manifests: list[dict[str, Any]], users: Users, visitor: Visitor
) -> None:
    [secret, provider] = manifests
    issuer.declare("company", client_secret_of("company", "wrong"), provider)
    issuer.wait_for_record("company", "client_secret", "wrong")
    page = users.see_page(visitor, "ada")
    assert page.status == 503
    error_id = page.texts["error-id"]
    [reported] = [
        line for line in issuer.printed().splitlines() if line.startswith("login refused") and error_id in line
    ]
    assert "check clientID and the client secret" in reported
    issuer.declare("company", secret, provider)
    issuer.wait_for_record("company", "client_secret", CLIENT_SECRET)
    users.log_in(visitor, "ada")


def test_refresh_gives_less_once_keycloak_has_taken_a_group(
    checking: Installation, checked_users: Users, checked: Visitor, admin: RealmAdmin
) -> None:
    tokens = checked_users.log_in(checked, "ada")
    admin.leave_group("ada", "hr-staff")
    assert "payroll.read" in checked_users.refresh(tokens), "Keycloak was asked before it was time"
    checking.move_clock(CHECK_SECONDS + 1)
    assert checked_users.refused_refresh(tokens) == "invalid_target"
    admin.join_group("ada", "hr-staff")
    checking.move_clock(CHECK_SECONDS + 1)
    assert "payroll.read" in checked_users.refresh(tokens)


def test_session_ends_once_keycloak_has_disabled_the_user(
    checking: Installation, checked_users: Users, checked: Visitor, admin: RealmAdmin
) -> None:
    tokens = checked_users.log_in(checked, "grace")
    admin.change_user("grace", enabled=False)
    try:
        assert "payroll.write" in checked_users.refresh(tokens), "Keycloak was asked before it was time"
        checking.move_clock(CHECK_SECONDS + 1)
        assert checked_users.refused_refresh(tokens) == "invalid_grant"
        begun = checked.issuer.open(checked_users.web.request().url)
        assert checked.is_upstream(begun), f"the session of the browser has not ended: {begun}"
    finally:
        admin.change_user("grace", enabled=True)
