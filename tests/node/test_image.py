"""The content of the image, run as in a container: an unprivileged user and a read-only file system."""

import json
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from image import build

from .namespaces import UNSHARE


class Image:
    """An archive, unpacked as a root file system."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.root = folder
        folder.chmod(0o755)
        with tarfile.open(archive) as found:
            index = self._json(found, "index.json")
            manifest = self._blob(found, index["manifests"][0])
            self.config = self._blob(found, manifest["config"])["config"]
            for layer in manifest["layers"]:
                file = found.extractfile(self._path(layer))
                with tarfile.open(fileobj=file, mode="r:gz") as content:
                    content.extractall(folder, filter="tar")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the image's files only, read-only, and without a network."""
        root, user = shlex.quote(str(self.root)), self.config["User"]
        environment = shlex.join(["env", "--ignore-environment", *self.config["Env"]])
        script = f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && "
        script += f"exec {environment} {shutil.which('chroot')} --userspec={user} {root} {shlex.join(command)}"
        apart = ["unshare", *UNSHARE, "sh", "-c", script]
        return subprocess.run(apart, capture_output=True, text=True, timeout=300, check=False)

    @staticmethod
    def _path(described: dict[str, Any]) -> str:
        return "blobs/" + str(described["digest"]).replace(":", "/")

    def _blob(self, archive: tarfile.TarFile, described: dict[str, Any]) -> dict[str, Any]:
        return self._json(archive, self._path(described))

    @staticmethod
    def _json(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
        file = archive.extractfile(name)
        assert file is not None
        content: dict[str, Any] = json.load(file)
        return content


@pytest.fixture(scope="module")
def image(archives: list[Path]) -> Iterator[Image]:
    with tempfile.TemporaryDirectory() as folder:
        yield Image(archives[0], Path(folder))


def test_the_images_user_cannot_write_and_can_run_only_python(image: Image) -> None:
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin"):
        programs = {file.name for file in (image.root / folder).glob("*")}
        assert programs <= {"python3.11", "scopewright"}
    special = [path for path in image.root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o6000]
    assert special == [], "no setuid programs"
    script = "import os; print(os.getuid(), os.getgid(), [f for f in ('/', '/tmp', '/usr') if os.access(f, os.W_OK)])"
    done = image.run("python3.11", "-c", script)
    assert (done.stdout.strip(), done.stderr) == (f"{build.USER} {build.USER} []", "")


@pytest.mark.parametrize("command", [["operator", "--issuer-url=https://issuer.example"], ["issuer"]])
def test_both_entry_points_start_and_report_the_missing_cluster(image: Image, command: list[str]) -> None:
    """test_node.py runs them with a cluster."""
    done = image.run(*image.config["Entrypoint"], *command)
    assert done.returncode == 1
    assert "cannot connect to a cluster" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_image_lists_its_packages(image: Image) -> None:
    """Where scanners of images read them."""
    packages = (image.root / "var/lib/dpkg/status").read_text().split("\n\n")
    listed = {line.partition(": ")[2] for text in packages for line in text.splitlines() if line.startswith("Package:")}
    assert {"python3.11-minimal", "libssl3", "libc6", "ca-certificates"} <= listed
    script = "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()))"
    installed = {plain(entry) for entry in image.run("python3.11", "-c", script).stdout.split()}
    locked = {plain(line.split()[0]) for line in build.REQUIREMENTS.read_text().splitlines() if "==" in line}
    [own] = installed - locked
    assert own.startswith("scopewright==")


def plain(entry: str) -> str:
    """The normalised name of a package."""
    name, _, version = entry.lower().partition("==")
    return f"{re.sub('[-_.]+', '-', name)}=={version}"


def test_the_images_programs_trust_public_authorities_and_read_hosts_first(image: Image) -> None:
    script = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)"
    assert image.run("python3.11", "-c", script).stdout.strip() == "True"
    assert "hosts: files dns" in (image.root / "etc/nsswitch.conf").read_text()
