"""Checks of documents. Each returns its findings, so that tests can show that it finds a planted error."""

import ast
import itertools
import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import typer
import yaml
from pydantic import ValidationError

from scopewright.api import API_VERSION, KINDS
from scopewright.api.validation import validate
from scopewright.cli import library_commands
from scopewright.cli.commands import app
from scopewright.core.config import Config
from tests.chart.helm import merged
from tests.documents import ROOT, Block, Document, commands, document, documents, heredocs

PACKAGE: Final = ROOT / "operator/scopewright"
FOLDERS: Final = frozenset(
    {"bench", "charts", "crds", "docs", "examples", "image", "operator", "requirements", "tests", ".ci"}
)
CREATED: Final = frozenset({"tests/golden/client/contact.yaml", "tests/unit/test_first.py"})
"""Files that the documents tell the reader to create."""
_TOKEN_ARGUMENT: Final = re.compile(r"scopewright token|^Authorization:.*\$", re.IGNORECASE)
USAGE_ERROR: Final[Any] = typer.BadParameter.__bases__[0]
"""Of the click that typer contains, which does not export its name."""
PART: Final = re.compile(r"^# [Pp]art of an? (\w+)", re.MULTILINE)
"""Marks a block with a part of a manifest of the five kinds: `# part of an OAuthClient`."""


# Links


def broken_links(page: Document) -> list[str]:
    return [str(link) for link in page.links if _broken(page, link.path, link.anchor)]


def _broken(page: Document, path: str, anchor: str) -> bool:
    if not path:
        return anchor not in page.anchors
    there = (page.path.parent / path).resolve()
    if not there.exists() or not there.is_relative_to(ROOT):
        return True
    return bool(anchor) and (there.suffix != ".md" or anchor not in document(there).anchors)


# Citations


def missing_citations(page: Document) -> list[str]:
    """Missing files and tests that are named in inline code, and missing documents that are named in a block."""
    found = [f"line {line}: {code}" for line, code in page.code if _is_missing(code, page.path.parent)]
    cited = [(block.line, cited) for block in page.blocks for cited in cited_in_code(block.text, page.path.parent)]
    return [*found, *(f"block at line {line}: {name}" for line, name in cited)]


def _is_missing(code: str, folder: Path) -> bool:
    path, _, test = code.partition("::")
    if path in CREATED:
        return False
    if re.fullmatch(r"[\w-]+\.md", path):
        return not (folder / path).exists() and path not in names_of_documents()
    if not re.fullmatch(r"\.?[\w-]+(/[\w.*-]+)+/?", path):
        return False
    first = path.partition("/")[0]
    bases = [base for base, there in ((ROOT, first in FOLDERS), (PACKAGE, (PACKAGE / first).is_dir())) if there]
    found = [file for base in bases for file in base.glob(path.rstrip("/"))]
    if not bases:
        return False
    function = re.compile(rf"^\s*(async )?def {re.escape(test)}\b", re.MULTILINE)
    return not found or bool(test and not any(function.search(file.read_text()) for file in found))


@cache
def names_of_documents() -> frozenset[str]:
    return frozenset(each.path.name for each in documents())


def cited_in_code(text: str, folder: Path) -> Iterator[str]:
    """Documents and headings that a source file names and that do not exist."""
    for path, anchor in re.findall(r"(?<![\w/.:{}-])((?:[\w.-]+/)*[\w-]+\.md)\b(?:#([\w-]+))?", text):
        there = [place for place in (ROOT / path, folder / path, ROOT / "docs" / path) if place.exists()]
        if not there and ("/" in path or path not in names_of_documents()):
            yield path
        elif anchor and there and anchor not in document(there[0].resolve()).anchors:
            yield f"{path}#{anchor}"


def sources() -> list[Path]:
    """The text files under version control that are not documents, without those that name pages of the site."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    kinds = {".py", ".go", ".yaml", ".toml", ".tpl", ".txt", ".json", ".yml", ""}
    files = [ROOT / name for name in listed.split("\0") if name and Path(name).suffix in kinds]
    others = (ROOT / "tests/plan", ROOT / "docs/hooks.py", ROOT / "mkdocs.yml", ROOT / "tests/unit/test_docs.py")
    return [file for file in files if file.is_file() and not any(file.is_relative_to(other) for other in others)]


# Code blocks


def yaml_problems(block: Block) -> list[str]:
    """Manifests of the five kinds, the platform's configuration and values of the chart must be valid; a marked part of
    a manifest is checked alone. `run:` and `script:` of pipelines are commands.
    """
    try:
        found = list(yaml.safe_load_all(block.text))
    except yaml.YAMLError as error:
        return [str(error)]
    problems: list[str] = []
    part = PART.search(block.text)
    for each in found:
        if not isinstance(each, dict):
            continue
        is_manifest = str(each.get("apiVersion", API_VERSION)).startswith("scopewright.dev/") and "spec" in each
        if is_manifest and part:
            problems += _of_a_part(part[1], each)
        elif is_manifest and each.keys() <= {"apiVersion", "kind", "metadata", "spec"}:
            problems += [f"{violation} (a part of a manifest? `# part of a …`)" for violation in validate(each)]
        problems += _wrong_settings(each)
        problems += [problem for script in _scripts(each) for problem in command_problems(script)]
    return problems


def _of_a_part(kind: str, part: dict[str, Any]) -> list[str]:
    if kind not in KINDS:
        return [f"{kind} is not one of {', '.join(KINDS)}"]
    whole = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "x", "namespace": "y"}, **part}
    return [str(violation) for violation in validate(whole) if "is required" not in violation.message]


def _wrong_settings(given: dict[str, Any]) -> list[str]:
    if "kind" in given:
        return []
    if isinstance(given.get("issuer"), str):
        try:
            Config.model_validate(given)
        except ValidationError as error:
            return [f"{each['loc']}: {each['msg']}" for each in error.errors()]
    values, schema = given.get("scopewright", given), _values_schema()
    is_users_file = isinstance(values.get("users"), list)
    if is_users_file or isinstance(values.get("issuer"), str) or not values.keys() & schema["properties"].keys():
        return []
    complete = merged(_values(), values)
    return [f"{each.instance_path}: {each.message}" for each in jsonschema_rs.iter_errors(schema, complete)]


@cache
def _values() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "charts/scopewright/values.yaml").read_text()))


@cache
def _values_schema() -> dict[str, Any]:
    return dict(json.loads((ROOT / "charts/scopewright/values.schema.json").read_text()))


def _scripts(value: object) -> Iterator[str]:
    match value:
        case dict():
            for name, child in value.items():
                if name in {"run", "script"}:
                    yield "\n".join(child) if isinstance(child, list) else str(child)
                else:
                    yield from _scripts(child)
        case list():
            for child in value:
                yield from _scripts(child)


def python_problems(code: str) -> list[str]:
    """The code must compile, and its imports of this project must exist. Lines from a class may be indented."""
    code = textwrap.dedent(code)
    try:
        tree = ast.parse(code)
        compile(code, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        return [str(error)]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    own = [node for node in imports if str(node.module).partition(".")[0] == "scopewright"]
    names = [(str(node.module), each.name) for node in own for each in node.names]
    return [f"{module} has no {name}" for module, name in names if not hasattr(import_module(module), name)]


def script_problems(block: Block) -> list[str]:
    """The block must be a script, and its commands of this project must exist, with their flags."""
    script = re.sub(r"^\$ ", "", block.text, flags=re.MULTILINE)
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    problems = [checked.stderr.strip()] if checked.returncode else []
    for code in heredocs(script, "python"):
        problems += python_problems(code)
    return problems or command_problems(script)


def command_problems(script: str) -> list[str]:
    return [f"{' '.join(command)}: {problem}" for command in commands(script) if (problem := _wrong(command))]


def _wrong(command: list[str]) -> str:
    match command[0].rpartition("/")[2], command[1:]:
        case "scopewright", arguments:
            return _wrong_flags(arguments)
        case "make", arguments:
            targets = [each for each in arguments if "=" not in each and not each.startswith("-")]
            return "".join(f"no target {each}" for each in targets if each not in make_targets())
        case "curl", arguments if any(_TOKEN_ARGUMENT.search(each) for each in arguments):
            return "`ps` shows the token; write scopewright token --header | curl -H @-"
        case "helm", arguments if "charts/scopewright" in arguments:
            given = [value for flag, value in itertools.pairwise(arguments) if flag.startswith("--set")]
            return "".join(f"no value {each}" for each in given if not _is_a_value(each.partition("=")[0]))
    return ""


def _wrong_flags(arguments: list[str]) -> str:
    if arguments and arguments[0] in library_commands.ABOUT:
        return _wrong_library_flags(*arguments)
    command: Any = typer.main.get_command(app)
    while known := getattr(command, "commands", None):  # a group, such as `scopewright users`
        if not arguments or arguments[0] not in known:
            return f"no command {' '.join(arguments[:1])}"
        command, arguments = known[arguments[0]], arguments[1:]
    if "--help" in arguments:
        return ""
    try:
        command.make_context(command.name, arguments)
    except USAGE_ERROR as error:
        return str(error.format_message())
    return ""


def _wrong_library_flags(command: str, *flags: str) -> str:
    if "--help" in flags:
        return ""
    try:
        library_commands.parser(command).parse(flags)
    except library_commands.UsageError as error:
        return str(error)
    return ""


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _is_a_value(path: str) -> bool:
    values: Any = _values()
    for name in path.split("."):
        if not isinstance(values, dict) or (values and name not in values):
            return False
        values = values.get(name, {})
    return True


def inline_problems(page: Document) -> list[str]:
    """Inline code such as `scopewright plan --cluster`. Arguments may be missing; `[…]` marks optional flags."""
    found = []
    for line, code in page.code:
        if re.match(r"scopewright [a-z]|make [a-z]", code) and (problem := _wrong_inline(code)):
            found.append(f"line {line}: {code}: {problem}")
    return found


def _wrong_inline(code: str) -> str:
    problems = [_wrong(command) for command in commands(re.sub(r"[\[\]]| \| ", " ", code))]
    return "".join(each for each in problems if "Missing argument" not in each and "requires an argument" not in each)
