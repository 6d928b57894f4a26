"""The cluster of `scopewright dev`: its key, and tokens of its ServiceAccounts."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from scopewright.controller.local_cluster import CLUSTER_ISSUER, KEY_FILE, LocalCluster, service_account_uid
from scopewright.core.clusters import ClusterConfig
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.stores.directory.state_dir import StateDirectory

WORKER = Ref("ServiceAccount", "leave", "worker")
ISSUER = "http://127.0.0.1:8080"
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def test_the_key_is_created_once_and_private_to_the_user(tmp_path: Path) -> None:
    LocalCluster.open(tmp_path)
    file = tmp_path / KEY_FILE
    first = file.read_bytes()
    LocalCluster.open(tmp_path)
    assert file.read_bytes() == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_crash_while_the_key_is_written_leaves_no_key_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    StateDirectory.open(tmp_path, ISSUER).close()
    before = set(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(Crash):
            LocalCluster.open(tmp_path)
    assert any('"d"' in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    StateDirectory.open(tmp_path, ISSUER).close()
    assert {path for path in tmp_path.rglob("*") if path.is_file()} <= before


def test_a_token_has_the_claims_of_a_projected_one(tmp_path: Path) -> None:
    cluster = LocalCluster.open(tmp_path)
    token = cluster.token(WORKER, ISSUER, timedelta(hours=1), NOW)
    public = {k: v for k, v in json.loads((tmp_path / KEY_FILE).read_bytes()).items() if k != "d"}
    claims = jwt.decode(
        token, jwt.PyJWK(public).key, ["ES256"], audience=ISSUER, issuer=CLUSTER_ISSUER,
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )  # fmt: skip
    assert jwt.get_unverified_header(token)["kid"] == public["kid"]
    assert claims["aud"] == [ISSUER]
    assert claims["sub"] == "system:serviceaccount:leave:worker"
    account = {"name": "worker", "uid": service_account_uid(WORKER)}
    assert claims["kubernetes.io"] == {"namespace": "leave", "serviceaccount": account}
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["iat"] == NOW.timestamp()


def test_each_service_account_has_its_own_uid() -> None:
    others = [Ref("ServiceAccount", "leave", "other"), Ref("ServiceAccount", "payroll", "worker")]
    assert len({service_account_uid(each) for each in (WORKER, *others)}) == 3


def test_only_the_public_key_is_configured_and_other_clusters_stay(tmp_path: Path) -> None:
    other = ClusterConfig(name="eu-1", issuer="https://eu-1.example.org")
    here = ClusterConfig(name="in-cluster", token_review=True)
    config = LocalCluster.open(tmp_path).trusted_by(Config(issuer=ISSUER, clusters=(other, here)))
    assert config.clusters[0] == other
    (key,) = config.clusters[1].keys
    assert "d" not in key
    assert (config.clusters[1].issuer, config.clusters[1].token_review) == (CLUSTER_ISSUER, False)


def test_a_configuration_without_its_own_cluster_does_not_trust_the_key(tmp_path: Path) -> None:
    config = Config(issuer=ISSUER, clusters=())
    assert LocalCluster.open(tmp_path).trusted_by(config) == config


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"kid": "x"}', b'{"kid": "x", "d": "y", "kty": "EC"}', b"\xff"]
)
def test_a_damaged_key_is_reported_with_the_remedy(content: bytes, tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(Rejected, match=f"{KEY_FILE} is damaged: remove it"):
        LocalCluster.open(tmp_path)


@pytest.mark.parametrize("member", [{"alg": "ES384"}, {"crv": "P-384"}, {"kty": "OKP"}, {"kty": "oct", "k": "AAAA"}])
def test_a_key_of_another_kind_is_damaged(member: dict[str, str], tmp_path: Path) -> None:
    LocalCluster.open(tmp_path)
    (tmp_path / KEY_FILE).write_text(json.dumps(json.loads((tmp_path / KEY_FILE).read_bytes()) | member))
    with pytest.raises(Rejected, match=f"{KEY_FILE} is damaged: remove it"):
        LocalCluster.read(tmp_path)


def test_a_key_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"cannot be written \(No such file or directory\): make STATE writable"):
        LocalCluster.open(tmp_path / "missing")


def test_a_directory_that_dev_did_not_write_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(Rejected, match="start `scopewright dev DIR` first"):
            LocalCluster.read(folder)


def test_a_malformed_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="not a name that Kubernetes accepts"):
        LocalCluster.open(tmp_path).token(Ref("ServiceAccount", "leave", "../x"), ISSUER, timedelta(hours=1), NOW)
