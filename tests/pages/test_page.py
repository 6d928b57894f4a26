"""The runner fails where a page does not do what it says."""

import re
import socket
from pathlib import Path

import pytest

from tests.documents import ROOT, Document
from tests.pages.installs import install_problems
from tests.pages.page import Command, Page, PageError

SERVER = """
from http.server import HTTPServer, SimpleHTTPRequestHandler

print("serving")
HTTPServer(("127.0.0.1", 8000), SimpleHTTPRequestHandler).serve_forever()
"""
TEXT = """
```python title="service.py"
import flask
```

```python
part
```

```sh
pip install 'scopewright[flask]'
A=1
```

```sh title="run.sh"
echo
```
"""


def run(folder: Path, *scripts: str, files: dict[str, str] | None = None, port_seconds: int = 20) -> list[str]:
    page = Page("page", files or {}, scripts)
    return page.run(folder, 8081, folder / "state", port_seconds=port_seconds, timeout=20)


def page(install: str, *programs: str, script: str = "") -> Page:
    return Page("page", {f"{number}.py": text for number, text in enumerate(programs)}, [install + "\n" + script])


def test_titled_blocks_are_files_and_sh_blocks_are_scripts() -> None:
    document = Document(ROOT / "docs/test/index.md")
    document.__dict__["text"] = TEXT
    page = Page.of(document)
    assert page.files == {"service.py": "import flask\n", "run.sh": "echo\n"}
    assert [command.text for command in page.commands] == ["pip install 'scopewright[flask]'", "A=1"]


def test_two_blocks_of_one_title_are_refused() -> None:
    document = Document(ROOT / "docs/test/index.md")
    document.__dict__["text"] = TEXT.replace("run.sh", "service.py")
    with pytest.raises(PageError, match="two blocks have the same title"):
        Page.of(document)


def test_commands_of_a_page_share_one_shell_and_one_directory(tmp_path: Path) -> None:
    scripts = ['# a comment\nA=1\nf() {\n  echo "$1"\n}\n', "f $A \\\n  # 1\n\ncat a/b.txt <<'END'\n'\nEND\nls -a"]
    output = run(tmp_path, *scripts, files={"a/b.txt": "text"})
    assert output == ["", "", "1\n", "text", ".\n..\n.scopewright\na\n"]


def test_pip_install_is_not_run(tmp_path: Path) -> None:
    assert (
        run(tmp_path, "pip install nothing-of-this-name\npython -m pip install nothing\n.venv/bin/pip install a\n")
        == []
    )


def test_missing_output_fails_and_all_output_is_printed(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"has no 'three'(.|\n)*one\n(.|\n)*two\n"):
        run(tmp_path, "echo one >&2\necho two  # three")


@pytest.mark.parametrize("expected", ["salary 7", "{'a': …}", "… 7"])
def test_expected_output_may_omit_a_part(expected: str) -> None:
    assert Command(f"python call.py  # {expected}").missing_from("{'a': 1, 'salary': 7} salary 7") == []
    assert Command(f"python call.py  # {expected}").missing_from("{'b': 1}") == [expected]


@pytest.mark.parametrize(("expected", "output"), [("3 passed", "13 passed"), ("salary 7", "salary 70")])
def test_expected_number_is_a_whole_one(expected: str, output: str) -> None:
    assert Command(f"python call.py  # {expected}").missing_from(output) == [expected]


def test_expected_output_of_a_here_document_is_after_print() -> None:
    command = Command("python <<'END'  # zero\na = 1  # one\nprint(a)  # two\nEND")
    assert command.expected == ["zero", "two"]


def test_failing_command_fails(tmp_path: Path) -> None:
    with pytest.raises(
        PageError, match=r"the last command failed \(3\)\n\$ echo a\na\n\n\$ \(echo b >&2; exit 3\)\nb\n$"
    ):
        run(tmp_path, "echo a\n(echo b >&2; exit 3)\necho c")


def test_failure_in_a_pipe_fails(tmp_path: Path) -> None:
    with pytest.raises(PageError):
        run(tmp_path, "false | true")


def test_incomplete_command_fails(tmp_path: Path) -> None:
    with pytest.raises(PageError):
        run(tmp_path, "echo 'a\n")


def test_page_without_an_end_fails(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"did not end within 0.5 s"):
        Page("page", {}, ["echo a\nsleep 30"]).run(tmp_path, 8081, tmp_path, timeout=0.5)


def test_background_command_is_awaited_and_ended(tmp_path: Path) -> None:
    outputs = run(
        tmp_path,
        "python service.py &  # serving\ncurl -s http://127.0.0.1:8000/ # service.py",
        files={"service.py": SERVER},
    )
    port = int(re.findall(r"127.0.0.1\", (\d+)", (tmp_path / "service.py").read_text())[0])
    assert port != 8000
    assert "serving" in outputs[0]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_port_that_never_opens_fails(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"port \d+ was not open within 1 s"):
        run(tmp_path, "sleep 30 --port 8000 || sleep 30 &\necho a", port_seconds=1)


def test_background_command_that_ends_early_fails(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"broken\n.*ended before port \d+ was open"):
        run(tmp_path, "(echo broken; : --port 8000) &\necho a")


def test_background_command_without_a_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PageError, match="names a port"):
        run(tmp_path, "python other.py &", files={"service.py": SERVER, "other.py": "url = 'http://127.0.0.1:8080'"})


def test_ports_of_issuer_and_services_are_replaced(tmp_path: Path) -> None:
    output = run(tmp_path, "echo 127.0.0.1:8080 8080 18080\necho --port 8000 localhost:9000 8000 9000")
    assert output[0] == "127.0.0.1:8081 8081 18080\n"
    _, first, second, *again = re.sub("localhost:", "", output[1]).split()
    assert again == [first, second]
    assert "8000" != first != second != "9000"


@pytest.mark.parametrize(
    ("install", "program", "problem"),
    [
        ("pip install 'scopewright[nothing]'", "", "pyproject.toml has no extra nothing"),
        ("pip install 'scopewright[flask]'", "import fastapi", "`import fastapi` needs fastapi"),
        ("pip install scopewright", "import scopewright.verifier.flask", "needs scopewright[flask]"),
        ("pip install flask", "import scopewright.verifier", "no command installs it"),
        ("pip install 'scopewright[flask]'", "import nowhere.at_all", "`import nowhere.at_all` needs nowhere"),
    ],
)
def test_import_that_the_page_does_not_install_is_found(install: str, program: str, problem: str) -> None:
    assert problem in "\n".join(install_problems(page(install, program)))


def test_program_that_the_page_does_not_install_is_found() -> None:
    script = "uvicorn a:app --port 8000 &\npython -m pytest"
    assert install_problems(page("pip install scopewright", script=script)) == [
        "`uvicorn` needs uvicorn",
        "`pytest` needs pytest",
    ]
    assert install_problems(page("pip install scopewright uvicorn pytest", script=script)) == []


def test_imports_that_the_page_installs_are_accepted() -> None:
    program = "import json, httpx, jwt, werkzeug, starlette\nfrom flask import Flask\nimport scopewright.verifier.flask"
    install = "python -m pip install 'scopewright[flask,fastapi]'  # a comment"
    assert install_problems(page(install, program)) == []
