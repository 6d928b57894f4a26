"""A mounted Secret is read again as it rotates, one version at a time."""

import os
import threading
import time
from pathlib import Path

import pytest

from scopewright.client import MountedSecret, SecretError
from tests.unit.client.support import ENTRIES, FakeClock, Mount


def plain(path: Path, **entries: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, value in (ENTRIES | entries).items():
        (path / name).write_text(value)
    return path


def test_entries_are_read_and_the_repr_omits_the_secret(mount: Mount) -> None:
    found = MountedSecret(mount.path).read()
    assert (found.client_id, found.client_secret) == ("leave.leave-worker", "SecretNumberOne")
    assert (found.scope, found.audience) == (None, None)
    assert "SecretNumberOne" not in repr(found)


def test_mount_is_read_again_at_most_once_a_second(mount: Mount, clock: FakeClock) -> None:
    secret = MountedSecret(mount.path, clock=clock)
    secret.read()
    mount.write(client_secret="SecretNumberTwo")
    clock.instant += 0.99
    assert secret.read().client_secret == "SecretNumberOne"
    assert secret.read(now=True).client_secret == "SecretNumberTwo"
    mount.write(client_secret="SecretNumberThree")
    clock.instant += 1
    assert secret.read().client_secret == "SecretNumberThree"


def test_changes_of_a_plain_directory_are_read(tmp_path: Path) -> None:
    secret = MountedSecret(plain(tmp_path / "plain"), every=0)
    assert secret.read().client_secret == "SecretNumberOne"
    fresh = tmp_path / "fresh"
    fresh.write_text("SecretNumberTwo")
    fresh.replace(tmp_path / "plain" / "client_secret")
    assert secret.read().client_secret == "SecretNumberTwo"


def test_one_trailing_line_end_is_removed(mount: Mount) -> None:
    for written, expected in (("a\n", "a"), ("a\r\n", "a"), (" a ", " a ")):
        mount.write(client_secret=written)
        assert MountedSecret(mount.path).read().client_secret == expected


def test_renamed_entries_are_read(mount: Mount) -> None:
    mount.write(CLIENT="payroll.reader")
    assert MountedSecret(mount.path, names={"client_id": "CLIENT"}).read().client_id == "payroll.reader"
    with pytest.raises(ValueError, match="clientID"):
        MountedSecret(mount.path, names={"clientID": "CLIENT"})


def test_scope_and_audience_entries_are_read(mount: Mount) -> None:
    mount.write(scope="payroll.read", audience="https://payroll.hr.example")
    found = MountedSecret(mount.path).read()
    assert (found.scope, found.audience) == ("payroll.read", "https://payroll.hr.example")


def test_error_for_a_missing_directory_says_to_mount_the_secret(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="is not a directory; mount the Secret"):
        MountedSecret(tmp_path / "nowhere").read()


def test_error_for_a_missing_entry_names_it(mount: Mount) -> None:
    for entry in ("client_id", "issuer"):
        folder = plain(mount.path.parent / entry)
        (folder / entry).unlink()
        with pytest.raises(SecretError, match=f"lacks {entry}; mount the whole Secret"):
            MountedSecret(folder).read()


def test_entries_that_no_token_request_needs_may_be_missing(mount: Mount) -> None:
    mount.write(token_endpoint=None, jwks_uri=None, type=None)
    found = MountedSecret(mount.path).read()
    assert (found.client_id, found.token_endpoint, found.jwks_uri) == ("leave.leave-worker", None, None)


@pytest.mark.parametrize("value", [b"", b"\n", b"a\nb", b"a\0", b"\xff\xfe", b"x" * 20_000, b"a\n\n"])
def test_malformed_entry_is_refused_without_quoting_it(tmp_path: Path, value: bytes) -> None:
    folder = plain(tmp_path / "plain")
    (folder / "client_secret").write_bytes(value)
    with pytest.raises(SecretError) as caught:
        MountedSecret(folder).read()
    assert str(folder / "client_secret") in caught.value.description
    assert "xxx" not in str(caught.value)


def test_entry_that_is_a_pipe_or_folder_is_refused(tmp_path: Path) -> None:
    folder = plain(tmp_path / "plain")
    (folder / "client_secret").unlink()
    os.mkfifo(folder / "client_secret")
    with pytest.raises(SecretError, match="is not a file"):
        MountedSecret(folder).read()
    (folder / "client_secret").unlink()
    (folder / "client_secret").mkdir()
    with pytest.raises(SecretError, match="client_secret is a directory and must be a file: mount the whole Secret"):
        MountedSecret(folder).read()


def test_malformed_version_does_not_replace_a_valid_one(mount: Mount) -> None:
    secret = MountedSecret(mount.path, every=0)
    secret.read()
    mount.write(client_secret="")
    assert secret.read().client_secret == "SecretNumberOne"
    mount.write(client_secret="SecretNumberThree")
    assert secret.read().client_secret == "SecretNumberThree"


def test_malformed_version_is_logged_once(mount: Mount, caplog: pytest.LogCaptureFixture) -> None:
    secret = MountedSecret(mount.path, every=0)
    for logged in (1, 2):
        mount.write()
        secret.read()
        mount.write(client_id=None)
        for _ in range(3):
            secret.read()
        assert [record.levelname for record in caplog.records] == ["WARNING"] * logged
        assert "lacks client_id" in caplog.text


def test_all_entries_read_are_of_one_version(mount: Mount) -> None:
    secret = MountedSecret(mount.path, every=0)
    stop = threading.Event()

    def rotate() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            mount.write(client_id=f"client-{number}", client_secret=f"secret-{number}")

    secret.read()
    seen: set[tuple[str, str]] = set()
    deadline = time.monotonic() + 20
    writer = threading.Thread(target=rotate)
    writer.start()
    try:
        while len(seen) < 30 and time.monotonic() < deadline:
            found = secret.read()
            seen.add((found.client_id, found.client_secret or ""))
    finally:
        stop.set()
        writer.join()
    seen.discard(("leave.leave-worker", "SecretNumberOne"))
    assert len(seen) >= 29
    assert all(name.removeprefix("client-") == value.removeprefix("secret-") for name, value in seen)
