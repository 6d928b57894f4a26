"""`scopewright dev-token`: arguments, and the file that it keeps fresh."""

from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from scopewright.cli.commands import app
from scopewright.cli.dev_token import AccountToken, keep_fresh
from scopewright.client import SecretError
from scopewright.client.service_account import require_audience
from scopewright.controller.local_cluster import LocalCluster
from scopewright.core.failures import Rejected
from scopewright.stores.directory.state_dir import StateDirectory


class Stopped(Exception):
    pass


@pytest.fixture
def state(tmp_path: Path) -> Path:
    StateDirectory.open(tmp_path / "state", "http://127.0.0.1:8080").close()
    LocalCluster.open(tmp_path / "state")
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("account", "duration", "message"),
    [
        ("worker", "1h", "is not NAMESPACE/SERVICEACCOUNT"),
        ("leave/", "1h", "not a name that Kubernetes accepts"),
        ("/worker", "1h", "not a name that Kubernetes accepts"),
        ("leave/worker/x", "1h", "not a name that Kubernetes accepts"),
        ("leave/worker", "0s", "from 1s to 24h"),
        ("leave/worker", "25h", "from 1s to 24h"),
        ("leave/worker", "1d", "write days and weeks in hours"),
        ("leave/worker", "", "such as 720h"),
    ],
)
def test_a_malformed_argument_is_refused(account: str, duration: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=message):
        AccountToken.parse(account, tmp_path, duration)


def test_a_token_is_for_the_issuer_of_the_state(state: Path) -> None:
    claims = jwt.decode(AccountToken.parse("leave/worker", state, "90m").token(), options={"verify_signature": False})
    assert claims["aud"] == ["http://127.0.0.1:8080"]
    assert claims["exp"] - claims["iat"] == timedelta(minutes=90).total_seconds()


def test_the_issuer_and_the_state_of_a_token_are_named(state: Path) -> None:
    """Without --state, it may be that of another `dev`."""
    done = CliRunner().invoke(app, ["dev-token", "leave/worker", "--state", str(state)])
    assert done.stderr == f"a token of leave/worker for http://127.0.0.1:8080, the issuer of --state {state}\n"
    assert len(done.stdout.strip().split(".")) == 3


@pytest.mark.parametrize(("issuer", "is_dev"), [("http://127.0.0.1:8443", True), ("https://issuer.example", False)])
def test_a_token_of_another_state_is_refused_by_the_client_with_the_flag(
    issuer: str, is_dev: bool, state: Path
) -> None:
    token = AccountToken.parse("leave/worker", state, "1h").token()
    with pytest.raises(
        SecretError, match=r"is for http://127\.0\.0\.1:8080, and must be for the issuer alone"
    ) as caught:
        require_audience(token, issuer, Path("token"))
    assert ("scopewright dev-token, whose --state" in caught.value.description) is is_dev


def test_the_file_is_replaced_after_four_fifths_of_the_lifetime(state: Path, tmp_path: Path) -> None:
    """The time is of the wall clock: a laptop that slept for longer replaces it at once."""
    file, now, written = tmp_path / "token", [1000.0], dict[str, float]()

    def sleep(seconds: float) -> None:
        written.setdefault(file.read_text(), now[0])
        now[0] += 3600 if len(written) == 3 else seconds
        if len(written) == 4:
            raise Stopped

    with pytest.raises(Stopped):
        keep_fresh(AccountToken.parse("leave/worker", state, "10m"), file, lambda: now[0], sleep)
    assert list(written.values()) == [1000.0, 1480.0, 1960.0, 5560.0]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_failed_renewal_is_repeated_until_the_token_ends(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, away, now, written = tmp_path / "folder", tmp_path / "away", [1000.0], dict[str, float]()
    folder.mkdir()

    def sleep(seconds: float) -> None:
        if (folder / "token").exists():
            written.setdefault((folder / "token").read_text(), now[0])
        now[0] += seconds
        if now[0] in (1100.0, 1600.0):
            folder.rename(away)
        elif now[0] == 1495.0:
            away.rename(folder)

    with pytest.raises(Rejected, match="cannot be written"):
        keep_fresh(AccountToken.parse("leave/worker", state, "10m"), folder / "token", lambda: now[0], sleep)
    assert list(written.values()) == [1000.0, 1500.0]  # the renewal at 1480 failed
    assert now[0] == 1500.0 + 600.0
    assert capsys.readouterr().err.count("cannot be written: No such file or directory; retrying until") == 2


def test_a_file_that_cannot_be_written_is_reported(state: Path, tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"--watch .*/missing/token cannot be written: No such file or directory"):
        keep_fresh(AccountToken.parse("leave/worker", state, "10m"), tmp_path / "missing/token")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Rejected, match="cannot be written: Is a directory"):
        keep_fresh(AccountToken.parse("leave/worker", state, "10m"), tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "state"]


@pytest.mark.parametrize("file", [".", "/", "/dev/null/token"])
def test_a_name_that_no_file_can_have_is_reported(file: str, state: Path) -> None:
    with pytest.raises(Rejected, match=rf"--watch {file} cannot be written"):
        keep_fresh(AccountToken.parse("leave/worker", state, "10m"), Path(file))
