"""Upgrade from an earlier chart and code, uninstall and reinstall: no new credentials, and tokens stay valid."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import pytest

from tests.cluster.kube import Kube
from tests.cluster.waiting import until
from tests.controlplane import ControlPlane

from .earlier import unpacked
from .helm import CHART, NAMESPACE
from .release import HR, NAME, Release

SERVICES: Final = {"employee": "employee-service", "payroll": "payroll-service", "leave": "leave-service"}
API: Final = "https://employee-api.employee.svc"
NAMESPACES: Final = (NAMESPACE, *SERVICES, "staff")


class UpgradedRelease(Release):
    """A release, with the tokens and credentials of its users."""

    issued = ""
    """A token from before the upgrade."""

    def credentials(self) -> dict[str, tuple[str, str]]:
        return {space: self.credentials_of(space, f"{name}-oauth") for space, name in SERVICES.items()}

    def public_keys(self) -> dict[str, Any]:
        """The keys in the JWKS ConfigMap, by kid."""
        found = self.kube.get("ConfigMap", NAMESPACE, "scopewright-jwks")
        assert found is not None
        return {key.key_id: key.key for key in jwt.PyJWKSet.from_json(found["data"]["jwks.json"]).keys if key.key_id}

    def token(self) -> str:
        return self.token_for(*self.credentials_of("leave", "leave-service-oauth"), API)

    def first_token(self) -> str:
        """An access token, once the issuer has followed recent changes."""
        secret = self.credentials_of("leave", "leave-service-oauth")
        until(lambda: self.post_token(*secret, API).status_code == 200, self.logs)
        return self.token()

    def wait_until_ready(self) -> None:
        for manifest in self.hr:
            until(lambda m=manifest: self.ready(m), lambda m=manifest: (self.read(m).get("status"), self.logs()))  # type: ignore[misc]

    def is_valid(self, token: str) -> bool:
        """Whether a verifier that fetches the keys now accepts the token."""
        served = httpx.get(f"{self.issuer_url}/jwks.json", trust_env=False)
        keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(served.text).keys}
        key = keys[jwt.get_unverified_header(token)["kid"]]
        return bool(jwt.decode(token, key, algorithms=["ES256"], audience=API, issuer=self.issuer_url))


@pytest.fixture(scope="module")
def release(plane: ControlPlane, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpgradedRelease]:
    """Installed by an earlier chart, run by its code, and used."""
    folder: Path = tmp_path_factory.mktemp("upgraded")
    with contextlib.closing(UpgradedRelease(plane, kube, folder)) as release:
        earlier = unpacked(tmp_path_factory.mktemp("earlier"))
        release.chart, release.code = earlier / "charts" / "scopewright", earlier / "operator"
        release.example = earlier / "examples" / "hr" / "manifests"
        release.install()
        plane.restart_controllers()
        release.start()
        release.hr = release.apply_hr()
        release.wait_until_ready()
        release.issued = release.first_token()
        yield release


def test_an_upgrade_rotates_nothing_and_tokens_stay_valid(release: UpgradedRelease) -> None:
    credentials, keys = release.credentials(), release.public_keys()
    release.chart, release.code = CHART, None
    # As users without a values file do it: newer values are then missing.
    release.helm("upgrade", NAME, str(CHART), "--reuse-values")
    release.stop_first()
    release.start_operator()
    # For a while the older issuer reads the records of the new operator.
    assert release.token()
    release.example = HR
    release.hr = release.apply_hr()
    release.wait_until_ready()
    assert release.token()
    release.stop_first()
    release.start_issuer()
    assert release.token()
    assert release.is_valid(release.issued)
    assert (release.credentials(), release.public_keys()) == (credentials, keys)
    for part in ("operator", "issuer"):
        assert "Traceback" not in (release.folder / f"{part}.log").read_text()


def test_after_uninstall_and_reinstall_everything_continues_unchanged(release: UpgradedRelease) -> None:
    credentials, keys = release.credentials(), release.public_keys()
    before = uids(release)
    release.stop()
    release.uninstall()
    assert uids(release) == before, "objects of users and issuers must stay unchanged"
    release.install()
    release.start()
    release.wait_until_ready()
    assert release.token()
    assert release.is_valid(release.issued)
    assert (release.credentials(), release.public_keys()) == (credentials, keys)


def uids(release: UpgradedRelease) -> dict[str, str]:
    """The UIDs of declared objects, and of their Secrets and ConfigMaps."""
    return {
        f"{kind} {namespace}/{found['metadata']['name']}": found["metadata"]["uid"]
        for namespace in NAMESPACES
        for kind in ("OAuthClient", "ResourceServer", "ScopeGrant", "SigningKey", "Secret", "ConfigMap")
        for found in release.kube.list(kind, namespace)
        if found["metadata"]["name"] not in ("kube-root-ca.crt", "scopewright-operator")
        and not found["metadata"]["name"].startswith("sh.helm.release.")
    }


def test_deletions_of_namespaces_and_crds_are_not_blocked(release: UpgradedRelease) -> None:
    """After the operator was uninstalled."""
    release.remove(NAMESPACES)
