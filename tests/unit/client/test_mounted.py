"""A mounted Secret is followed as it rotates, and read as one version."""

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


def test_the_entries_are_read_and_the_secret_is_in_no_repr(mount: Mount) -> None:
    found = MountedSecret(mount.path).read()
    assert (found.client_id, found.client_secret) == ("leave.leave-worker", "SecretNumberOne")
    assert (found.scope, found.audience) == (None, None)
    assert "SecretNumberOne" not in repr(found)


def test_a_rotation_is_seen_within_a_second_and_the_disk_is_left_alone_before(mount: Mount, clock: FakeClock) -> None:
    secret = MountedSecret(mount.path, clock=clock)
    secret.read()
    mount.write(client_secret="SecretNumberTwo")
    clock.instant += 0.99
    assert secret.read().client_secret == "SecretNumberOne"
    assert secret.read(now=True).client_secret == "SecretNumberTwo"
    mount.write(client_secret="SecretNumberThree")
    clock.instant += 1
    assert secret.read().client_secret == "SecretNumberThree"


def test_a_plain_directory_is_followed_too(tmp_path: Path) -> None:
    secret = MountedSecret(plain(tmp_path / "plain"), every=0)
    assert secret.read().client_secret == "SecretNumberOne"
    fresh = tmp_path / "fresh"
    fresh.write_text("SecretNumberTwo")
    fresh.replace(tmp_path / "plain" / "client_secret")
    assert secret.read().client_secret == "SecretNumberTwo"


def test_one_line_end_is_trimmed_and_nothing_else(mount: Mount) -> None:
    for written, expected in (("a\n", "a"), ("a\r\n", "a"), (" a ", " a ")):
        mount.write(client_secret=written)
        assert MountedSecret(mount.path).read().client_secret == expected


def test_renamed_entries_are_found_under_their_names(mount: Mount) -> None:
    mount.write(CLIENT="payroll.reader")
    assert MountedSecret(mount.path, names={"client_id": "CLIENT"}).read().client_id == "payroll.reader"
    with pytest.raises(ValueError, match="clientID"):
        MountedSecret(mount.path, names={"clientID": "CLIENT"})


def test_scope_and_audience_are_read_where_they_are(mount: Mount) -> None:
    mount.write(scope="payroll.read", audience="https://payroll.hr.example")
    found = MountedSecret(mount.path).read()
    assert (found.scope, found.audience) == ("payroll.read", "https://payroll.hr.example")


def test_a_missing_directory_says_to_mount_the_secret(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="is not a directory; mount the Secret"):
        MountedSecret(tmp_path / "nowhere").read()


def test_a_missing_entry_is_named(mount: Mount) -> None:
    for entry in ("client_id", "issuer", "token_endpoint", "jwks_uri"):
        folder = plain(mount.path.parent / entry)
        (folder / entry).unlink()
        with pytest.raises(SecretError, match=f"lacks {entry}; mount the whole Secret"):
            MountedSecret(folder).read()


@pytest.mark.parametrize("value", [b"", b"\n", b"a\nb", b"a\0", b"\xff\xfe", b"x" * 20_000, b"a\n\n"])
def test_an_entry_that_is_no_value_is_refused_without_repeating_it(tmp_path: Path, value: bytes) -> None:
    folder = plain(tmp_path / "plain")
    (folder / "client_secret").write_bytes(value)
    with pytest.raises(SecretError) as caught:
        MountedSecret(folder).read()
    assert str(folder / "client_secret") in caught.value.description
    assert "xxx" not in str(caught.value)


def test_a_pipe_or_folder_in_place_of_an_entry_does_not_hang(tmp_path: Path) -> None:
    folder = plain(tmp_path / "plain")
    (folder / "client_secret").unlink()
    os.mkfifo(folder / "client_secret")
    with pytest.raises(SecretError, match="is not a file"):
        MountedSecret(folder).read()
    (folder / "client_secret").unlink()
    (folder / "client_secret").mkdir()
    with pytest.raises(SecretError, match="client_secret is a directory and must be a file: mount the whole Secret"):
        MountedSecret(folder).read()


def test_an_unusable_version_does_not_displace_a_good_one(mount: Mount) -> None:
    secret = MountedSecret(mount.path, every=0)
    secret.read()
    mount.write(client_secret="")
    assert secret.read().client_secret == "SecretNumberOne"
    mount.write(client_secret="SecretNumberThree")
    assert secret.read().client_secret == "SecretNumberThree"


def test_all_entries_are_of_one_version_however_often_it_changes(mount: Mount) -> None:
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
