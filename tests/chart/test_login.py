"""Users log in at a release of the chart: its operator and its issuer run with the rights that the chart gives them."""

import contextlib
from collections.abc import Iterator

import httpx
import jwt
import pytest

from scopewright.core.records.names import IDENTITY_PROVIDER_TYPE
from tests.cluster.kube import Kube
from tests.cluster.manifests import signing_key
from tests.cluster.waiting import until
from tests.controlplane import ControlPlane
from tests.harness.browser import FormBrowser
from tests.harness.html_page import Page

from . import logins
from .helm import NAMESPACE, merged
from .logins import Visitor
from .release import Release
from .test_upgrade import NAMESPACES

RECORD = f"identityprovider.{logins.PROVIDER}"


@pytest.fixture(scope="module")
def release(plane: ControlPlane, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with contextlib.closing(Release(plane, kube, tmp_path_factory.mktemp("release"))) as release:
        release.values = merged(release.values, logins.VALUES)
        release.install()
        plane.restart_controllers()
        release.start()
        release.hr = release.apply_hr()
        for manifest in (applied := [*logins.of_platform(), *logins.of_teams()]):
            kube.apply(manifest)
        keys = signing_key(NAMESPACE, "id-tokens")  # made by the operator, for the first provider
        until(lambda: release.kube.get("SigningKey", NAMESPACE, "id-tokens"), release.logs)
        for manifest in (*applied[1:], keys):
            until(lambda m=manifest: release.ready(m), lambda m=manifest: (release.read(m), release.logs()))  # type: ignore[misc]
        until(lambda: "authorization_endpoint" in metadata(release), release.logs)
        yield release
        release.remove(NAMESPACES)


def metadata(release: Release) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{release.issuer_url}/.well-known/openid-configuration").json()
    return found


def visitor(release: Release) -> Visitor:
    """Their browser has no cookie yet."""
    return Visitor(release.issuer_url, *release.credentials_of(logins.TEAM, f"{logins.APPLICATION}-oauth"))


def test_a_user_logs_in_and_gets_a_token_for_an_api(release: Release) -> None:
    with visitor(release) as user:
        tokens = user.log_in()
        assert user.passwords_asked == 1
    keys = jwt.PyJWKClient(f"{release.issuer_url}/jwks.json")
    claims = jwt.decode(
        tokens.access_token,
        keys.get_signing_key_from_jwt(tokens.access_token),
        algorithms=["ES256"],
        audience=logins.AUDIENCE,
    )
    assert (claims["scope"], claims["client_id"]) == ("payroll.read", f"{logins.TEAM}.{logins.APPLICATION}")
    assert claims["sub"] == tokens.claims["sub"]
    assert claims["sub"].startswith("u-")
    assert tokens.claims["name"] == "Ada Lovelace"


def test_sessions_are_in_the_file_and_survive_a_restart(release: Release) -> None:
    with visitor(release) as user:
        before = user.log_in()
        release.stop()
        release.start()
        until(lambda: "authorization_endpoint" in metadata(release), release.logs)
        silent = user.log_in(prompt="none")
        assert user.passwords_asked == 1
        assert silent.claims["sub"] == before.claims["sub"]
        assert silent.claims["auth_time"] == before.claims["auth_time"]
        assert user.refreshed(before).access_token


def test_the_operator_writes_the_record_of_the_provider_under_the_admission_policy(release: Release) -> None:
    record = release.kube.get("Secret", NAMESPACE, RECORD)
    assert record is not None
    assert record["type"] == IDENTITY_PROVIDER_TYPE


def test_a_refused_password_is_in_no_log(release: Release) -> None:
    with visitor(release) as user:
        page = user.browser.page(user.application.request(scope=logins.SCOPES).url)
        shown = user.browser.submit(page, "password-form", "log-in", username=logins.USER, password="wrong-secret")
        assert isinstance(shown, Page)
        assert "password-form" in shown.forms
    until(lambda: '"reason":"password_wrong"' in release.logs(), release.logs)
    assert "wrong-secret" not in release.logs()


def test_a_deleted_provider_ends_the_login(release: Release) -> None:
    """Until it is created again: the user is the same, and has to log in again."""
    with visitor(release) as user:
        before = user.log_in()
        release.kube.delete("IdentityProvider", NAMESPACE, logins.PROVIDER)
        until(lambda: release.kube.get("Secret", NAMESPACE, RECORD) is None, release.logs)
        until(lambda: "authorization_endpoint" not in metadata(release), release.logs)
        request = user.application.request(scope=logins.SCOPES)
        assert httpx.get(request.url).status_code == 404
        release.kube.apply(logins.of_platform()[1])
        until(lambda: "authorization_endpoint" in metadata(release), release.logs)
        assert user.log_in().claims["sub"] == before.claims["sub"]
        assert user.passwords_asked == 2


def test_without_users_enabled_there_is_no_login(release: Release) -> None:
    release.upgrade(users={"enabled": False})
    release.stop()
    release.start()
    assert "authorization_endpoint" not in metadata(release)
    with FormBrowser(release.issuer_url) as browser:
        shown = browser.open(f"{release.issuer_url}/account")
    assert isinstance(shown, Page)
    assert shown.status == 404
