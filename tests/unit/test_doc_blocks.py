"""The code blocks of the documents: manifests, programs and commands that a reader copies."""

import pytest

from tests.doc_checks import python_problems, script_problems, yaml_problems
from tests.documents import Block, documents

BLOCKS = [block for document in documents() for block in document.blocks]
LANGUAGES = frozenset(
    {"", "yaml", "sh", "console", "lua", "nginx", "cel", "json", "md", "diff", "xml", "proto"}
    | {"python", "go", "java", "js", "csharp"}
)


def of(language: str) -> list[Block]:
    found = [block for block in BLOCKS if block.language == language]
    assert found
    return found


def planted(text: str) -> Block:
    return Block("planted", 1, "", text)


def test_language_of_every_block_is_known() -> None:
    """Otherwise a block in `yml` or `bash` would not be checked."""
    assert {block.language for block in BLOCKS} <= LANGUAGES


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_manifest_block_is_valid(block: Block) -> None:
    assert yaml_problems(block) == []


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_block_compiles_and_its_imports_exist(block: Block) -> None:
    assert python_problems(block.text) == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in {"sh", "console"}], ids=str)
def test_commands_and_flags_of_a_script_block_exist(block: Block) -> None:
    assert script_problems(block) == []


CLIENT = "apiVersion: scopewright.dev/v1alpha1\nkind: OAuthClient\nmetadata: {name: a, namespace: b}\n"


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        CLIENT + "spec: {acces: []}",
        CLIENT.replace("v1alpha1", "v1") + "spec: {}",
        "kind: ResourceServer\nspec: {servedBy: [a]}",
        "spec: {authentication: {method: PrivateKeyJWT}}",
        "# part of an OAuthClient\nspec: {authentication: {method: Password}}",
        "# part of a Client\nspec: {}",
        "issuer: https://issuer.example.org\nclockSkw: 60s",
        "issuer: {url: https://issuer.example.org, mod: both}",
        "dependencies: []\nscopewright: {enabled: maybe}",
        "jobs: {a: {steps: [{run: scopewright plan DIR --agains BASE}]}}",
        "plan: {script: [pip install x, scopewright plam DIR]}",
    ],
)
def test_error_in_yaml_is_found(text: str) -> None:
    assert yaml_problems(planted(text))


@pytest.mark.parametrize(
    "text",
    [
        CLIENT + "spec: {access: []}",
        "# part of an OAuthClient\nspec: {authentication: {method: PrivateKeyJWT}}",
        "# part of a ResourceServer\nspec: {servedBy: [a]}",
        "apiVersion: v1\nkind: Pod\nspec: {}",
        "issuer: https://issuer.example.org\nclockSkew: 60s",
        "serviceMonitor: {enabled: true}",
    ],
)
def test_valid_yaml_is_accepted(text: str) -> None:
    assert yaml_problems(planted(text)) == []


@pytest.mark.parametrize(
    "code",
    [
        "async def f(:",
        "    a = (",
        "from scopewright.verifier import Verifyer",
        "from scopewright.client.auth import Nothing",
    ],
)
def test_error_in_python_is_found(code: str) -> None:
    assert python_problems(code)
    assert python_problems("async with a as b:\n    await b.c()\n") == []


@pytest.mark.parametrize(
    "script",
    [
        "scopewright dve DIR",
        "scopewright dev",
        "scopewright dev DIR --lisen 127.0.0.1:1  # a comment",
        "A=1 .venv/bin/scopewright issuer --workers",
        "cat a | scopewright plan - --cluster --purge",
        "scopewright issuer --replay-capacity many",
        "make demo && make demmo",
        "make \\\n  nowhere",
        "helm install a charts/scopewright --set isuer.url=b",
        "python3 <<'END'\nfrom scopewright.client import Nothing\nEND",
        "echo 'a",
        "kubectl delete configmap <name>",
        'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/',
        'curl http://127.0.0.1:8000/ -H "$(scopewright token --header)"',
    ],
)
def test_error_in_a_script_is_found(script: str) -> None:
    assert script_problems(planted(script))


@pytest.mark.parametrize(
    "script",
    [
        "$ scopewright dev DIR &  # serves\nmake demo ARGS=--check",
        "echo 'scopewright nothing'; scopewright plan --help",
        "kubectl get x -o jsonpath='{.a}' \\\n  | jq -r '.b\n  | .c'\nmake lock",
        "helm install a charts/scopewright --set issuer.url=b,c=d",
        "scopewright token --header | curl -sS -H @- http://127.0.0.1:8000/",
    ],
)
def test_valid_script_is_accepted(script: str) -> None:
    assert script_problems(planted(script)) == []
