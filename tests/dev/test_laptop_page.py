"""docs/laptop.md, "Every method of authentication": its parts of manifests and its commands, in order."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.doc_checks import PART
from tests.documents import ROOT, Block, document
from tests.harness.waiting import poll
from tests.pages.page import Page
from tests.ports import free_port
from tests.running import Running, hr_example

_PAGE: Final = document(ROOT / "docs/laptop.md")
_HEADING: Final = "## Every method of authentication\n"
_FILES: Final = {"OAuthClient": "40-staff.yaml", "ResourceServer": "20-payroll.yaml"}
SERVICE: Final = Page.of(document(ROOT / "docs/call/shell.md")).files["service.py"]


class Laptop:
    """`scopewright dev` with the HR example. `folder` is where the reader runs the commands."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running, self.folder = running, folder
        self.secret = running.state / "secrets/staff/hr-desk-oauth"

    def apply(self, part: Block) -> None:
        """Change the manifest as the part of one says."""
        (kind,) = PART.findall(part.text)
        file = self.folder / "manifests" / _FILES[kind]
        documents: list[dict[str, Any]] = list(yaml.safe_load_all(file.read_text()))
        for each in documents:
            if each["kind"] == kind and each["metadata"]["name"] in ("hr-desk", "payroll-api"):
                each["spec"] |= yaml.safe_load(part.text)["spec"]
        file.write_text(yaml.safe_dump_all(documents))

    def run(self, script: Block) -> None:
        page = Page(_PAGE.name, {}, [script.text])
        (self.folder / ".scopewright").unlink(missing_ok=True)
        page.run(self.folder, self.running.port, self.running.state)


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    with hr_example(tmp_path) as running:
        yield Laptop(running, tmp_path)


def blocks() -> list[Block]:
    text = _PAGE.text
    first = text[: text.index(_HEADING)].count("\n")
    last = first + text[text.index(_HEADING) + 1 :].partition("\n## ")[0].count("\n")
    return [block for block in _PAGE.blocks if first < block.line <= last]


@contextlib.contextmanager
def serving(laptop: Laptop) -> Iterator[int]:
    """The service of docs/call/shell.md, on a free port."""
    port = free_port()
    service = SERVICE.replace("http://127.0.0.1:8080", laptop.running.url)
    service = service.replace(", verifier)", f', verifier, base_url="http://127.0.0.1:{port}")')
    (laptop.folder / "service.py").write_text(service)
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=laptop.folder, env=os.environ) as process:
        try:
            yield port
        finally:
            process.terminate()


def test_every_method_is_tried_as_on_the_page(laptop: Laptop) -> None:
    key_pair, token, dpop, caller, account, projected = blocks()
    laptop.apply(key_pair)
    poll((laptop.secret / "private_key.jwk").exists)
    laptop.run(token)

    laptop.apply(dpop)
    with serving(laptop) as port:
        program = caller.text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")

        def answer() -> str:
            done = subprocess.run(
                [sys.executable, "-c", program],
                cwd=laptop.folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            return done.stdout

        poll(lambda: answer() == "{'caller': 'staff.hr-desk'}\n")
        plain = program.replace(", dpop=True", "")
        refused = subprocess.run([sys.executable, "-c", plain], cwd=laptop.folder, capture_output=True, check=False)
        assert b"DPoP" in refused.stderr

    laptop.apply(Block(dpop.document, dpop.line, dpop.language, dpop.text.replace("true", "false")))
    laptop.apply(account)
    poll(lambda: not (laptop.secret / "private_key.jwk").exists())
    laptop.run(projected)
