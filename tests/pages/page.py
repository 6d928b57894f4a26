"""Runs a page of the documentation as a reader does.

- A block with a title (```` ```python title="service.py" ````) is a file. They are written before the first command.
- A `sh` block is run as it stands, in order, by one shell in one directory. A command that fails ends the run.
- `# text` at the end of a command's line is what its output must contain; `…` stands for any text. In a here-document
  it is at the end of a line with `print(`. A comment on a line of its own is an ordinary comment.
- A command that ends with ` &` runs until the page ends. The next command starts when its port is open: the first port
  in the command, or else in the files that it names (`service:app` names `service.py`).
- `pip install …` is not run: `tests/pages/installs.py` checks that the page needs no more than what it installs.
- The page assumes `scopewright dev examples/hr/manifests` at http://127.0.0.1:8080, with its state in `.scopewright`.
  Every port of the page is replaced by a free one. A port is written as `127.0.0.1:8000`, `"127.0.0.1", 8000`,
  `localhost:8000`, `0.0.0.0:8000`, `":8000"`, `--port 8000`, `port=8000` or `-p 8000`.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.documents import Document
from tests.ports import free_port

ISSUER_PORT: Final = "8080"
TIMEOUT_SECONDS: Final = 600.0
"""For a whole page: the first run of a page in another language downloads packages."""

_PORT: Final = re.compile(
    r"""(?:(?:127\.0\.0\.1|localhost|0\.0\.0\.0)(?::|["'], ?)|["']:|--port[ =]|\bport ?[=:] ?|(?<=\s)-p )(\d{4,5})\b""",
    re.IGNORECASE,
)
_EXPECTED: Final = re.compile(r"\s# (.+)$")
_INSTALL: Final = re.compile(r"(?:\S*python3? -m )?(?:\S*/)?pip3? install\b")
_PRELUDE: Final = """
wait_for_port() {
  for ((pause = 0; pause < $2 * 20; pause++)); do
    if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    if ! kill -0 $! 2>/dev/null; then echo "the command ended before port $1 was open"; return 1; fi
    sleep 0.05
  done
  echo "port $1 was not open within $2 s"; return 1
}
trap 'exec 2>/dev/null; kill -KILL $(jobs -p) || true; wait || true' EXIT
set -euo pipefail
"""


class PageError(AssertionError):
    """The page does not do what it says. The text has the output of all its commands."""


@dataclass(frozen=True)
class Command:
    """One command of a script, with all its lines."""

    text: str

    @property
    def is_install(self) -> bool:
        return _INSTALL.match(self.text) is not None

    @property
    def is_background(self) -> bool:
        return _EXPECTED.sub("", self.text).rstrip().endswith(" &")

    @property
    def expected(self) -> list[str]:
        lines = self.text.splitlines()
        is_heredoc = "<<" in lines[0]
        found = [_EXPECTED.search(line) for line in lines if not is_heredoc or line is lines[0] or "print(" in line]
        return [match[1].strip() for match in found if match]

    def missing_from(self, output: str) -> list[str]:
        """The expected texts that are not in `output`."""
        return [text for text in self.expected if not re.search(_pattern(text), output, re.DOTALL)]


def _pattern(text: str) -> str:
    """A number at an end is a whole one: `3 passed` is not in `13 passed`."""
    start, end = r"(?<!\d)" if text[0].isdecimal() else "", r"(?!\d)" if text[-1].isdecimal() else ""
    return start + ".*?".join(re.escape(part) for part in text.split("…")) + end


@dataclass(frozen=True)
class Page:
    """Files by title, and scripts in order."""

    name: str
    files: Mapping[str, str]
    scripts: Sequence[str]

    @classmethod
    def of(cls, document: Document) -> "Page":
        """Raises PageError if two blocks have the same title."""
        titled = [block for block in document.blocks if block.title]
        files = {block.title: block.text for block in titled}
        if len(files) < len(titled):
            raise PageError(f"{document}: two blocks have the same title; give a part of a file no title")
        return cls(
            document.name,
            files,
            [block.text for block in document.blocks if block.language == "sh" and not block.title],
        )

    @property
    def commands(self) -> list[Command]:
        return [command for script in self.scripts for command in _split(script)]

    def run(
        self,
        folder: Path,
        issuer_port: int,
        state: Path,
        *,
        port_seconds: int = 120,
        timeout: float = TIMEOUT_SECONDS,
    ) -> list[str]:
        """The output of each command. Raises PageError. The page may find files that it needs in `folder`."""
        page = self._with_ports(str(issuer_port))
        for title, text in page.files.items():
            file = folder / title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (folder / ".scopewright").symlink_to(state)
        ran = [command for command in page.commands if not command.is_install]
        script = page._script(ran, str(issuer_port), port_seconds)
        with tempfile.TemporaryDirectory() as logs:
            code = _bash(script, folder, Path(logs), timeout)
            outputs = [file.read_text(errors="replace") for file in sorted(Path(logs).iterdir())]
        transcript = "\n".join(f"$ {command.text}\n{output}" for command, output in zip(ran, outputs, strict=False))
        if code != 0:
            ended = f"did not end within {timeout} s" if code is None else f"the last command failed ({code})"
            raise PageError(f"{self.name}: {ended}\n{transcript}")
        for command, output in zip(ran, outputs, strict=True):
            for text in command.missing_from(output):
                raise PageError(f"{self.name}: {command.text}\nhas no {text!r} in its output\n{transcript}")
        return outputs

    def _with_ports(self, issuer_port: str) -> "Page":
        """With free ports instead of those of the page."""
        named = {port for text in (*self.files.values(), *self.scripts) for port in _PORT.findall(text)}
        ports = {port: str(free_port()) for port in sorted(named)} | {ISSUER_PORT: issuer_port}

        number = re.compile(rf"\b({'|'.join(ports)})\b")

        def replaced(text: str) -> str:
            return number.sub(lambda found: ports[found[0]], text)

        files = {title: replaced(text) for title, text in self.files.items()}
        return Page(self.name, files, [replaced(script) for script in self.scripts])

    def _script(self, commands: Sequence[Command], issuer_port: str, port_seconds: int) -> str:
        parts = [_PRELUDE]
        for number, command in enumerate(commands):
            parts += [f'exec >"$PAGE_LOGS/{number:03}" 2>&1', command.text]
            if command.is_background:
                parts.append(f"wait_for_port {self._port_of(command, issuer_port)} {port_seconds}")
        return "\n".join(parts)

    def _port_of(self, command: Command, issuer_port: str) -> str:
        words = set(re.split(r"[\s:]", command.text))
        started = [text for title, text in self.files.items() if words & {title, Path(title).stem}]
        ports: list[str] = [
            port for text in (command.text, *started) for port in _PORT.findall(text) if port != issuer_port
        ]
        if not ports:
            raise PageError(f"{self.name}: neither `{command.text}` nor the file that it starts names a port")
        return ports[0]


def _split(script: str) -> list[Command]:
    """The commands of a script: lines that bash accepts only together are one command. Comments are ignored."""
    found, lines = [], list[str]()
    for line in script.splitlines():
        if not lines and (not line.strip() or line.startswith("#")):
            continue
        lines.append(line)
        if not line.endswith("\\") and _is_complete("\n".join(lines)):
            found.append(Command("\n".join(lines)))
            lines = []
    return [*found, Command("\n".join(lines))] if lines else found


def _is_complete(script: str) -> bool:
    """bash warns about a here-document without an end, and refuses any other incomplete command."""
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    return checked.returncode == 0 and not checked.stderr


def _bash(script: str, folder: Path, logs: Path, timeout: float) -> int | None:
    """The exit code; None after `timeout`. Ends all processes of the script."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SCOPEWRIGHT_", "PYTEST_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {"PATH": path, "PYTHONUNBUFFERED": "1", "PAGE_LOGS": str(logs)}
    process = subprocess.Popen(
        ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
