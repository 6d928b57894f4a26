"""`ClientCredentials()` uses the first source of credentials that exists; a source that is incomplete is an error."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scopewright.client import ClientCredentials, MountedCredentials, SecretError, TokenError, sources
from tests.unit.client.support import ENTRIES, TOKEN_ENDPOINT, Endpoint, FakeClock, Mount, refused
from tests.unit.client.test_authentication import Issuer, private_key, projected

ID = {
    "SCOPEWRIGHT_CLIENT_ID": "leave.leave-worker",
    "SCOPEWRIGHT_ISSUER": "https://issuer.example",
    "SCOPEWRIGHT_CLIENT_SECRET": "SecretNumberOne",
}
ISSUER = "https://issuer.example"
SetVariables = Callable[..., None]


@pytest.fixture(autouse=True)
def standard_mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable of the machine is read, and the default path of the mount is below `tmp_path`."""
    for name in (*ID, "SCOPEWRIGHT_SECRET_DIR", "SCOPEWRIGHT_PRIVATE_KEY", "SERVICE_BINDING_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SERVICE_ACCOUNT_TOKEN_FILE", "RESOURCE", "SCOPE", "ALLOW_HTTP", "TOKEN_ENDPOINT"):
        monkeypatch.delenv(f"SCOPEWRIGHT_{name}", raising=False)
    monkeypatch.setattr(sources, "STANDARD_MOUNT", tmp_path / "standard")
    return tmp_path / "standard"


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> SetVariables:
    def set_all(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return set_all


def secret(path: Path, client_id: str, **entries: str) -> Path:
    path.mkdir(parents=True)
    for name, value in {**ENTRIES, "client_id": client_id, "provider": "scopewright", **entries}.items():
        (path / name).write_text(value)
    return path


def found(**options: Any) -> MountedCredentials:
    return ClientCredentials(**options).source.read()


def test_sources_are_used_in_the_documented_order(
    standard_mount: Path, variables: SetVariables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables(
        **ID | {"SCOPEWRIGHT_CLIENT_ID": "from.variables"},
        SCOPEWRIGHT_SECRET_DIR=secret(tmp_path / "dir", "from.dir"),
        SERVICE_BINDING_ROOT=secret(tmp_path / "bindings/oauth", "from.binding").parent,
    )
    secret(standard_mount, "from.standard")
    assert found(client_id="from.arguments", client_secret="x", issuer=ISSUER).client_id == "from.arguments"
    assert found(path=tmp_path / "bindings/oauth").client_id == "from.binding"
    order = []
    for names in (["SECRET_DIR"], ["CLIENT_ID", "CLIENT_SECRET"], []):
        order.append(found().client_id)
        for name in names:
            monkeypatch.delenv(f"SCOPEWRIGHT_{name}")
    monkeypatch.delenv("SERVICE_BINDING_ROOT")
    order.append(found().client_id)
    assert order == ["from.dir", "from.variables", "from.binding", "from.standard"]


def test_source_is_logged_once_and_without_the_secret(
    variables: SetVariables, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scopewright.client")
    variables(**ID)
    auth = ClientCredentials()
    auth.for_resource("https://payroll.example")
    assert [record.getMessage() for record in caplog.records] == [
        "credentials are read from SCOPEWRIGHT_CLIENT_ID and the variables beside it"
    ]
    assert "SecretNumberOne" not in repr(auth.source.read())


def test_error_without_credentials_lists_what_was_tried(standard_mount: Path) -> None:
    with pytest.raises(SecretError) as caught:
        ClientCredentials()
    text = caught.value.description
    assert text.startswith("no credentials were found; pass the path of a mounted Secret, or provide one of: ")
    assert "(1) SCOPEWRIGHT_SECRET_DIR, the directory where the Secret of the OAuthClient is mounted: not set; " in text
    assert "(2) SCOPEWRIGHT_CLIENT_ID, with SCOPEWRIGHT_ISSUER and one of SCOPEWRIGHT_CLIENT_SECRET, SCOPEW" in text
    assert "(3) SERVICE_BINDING_ROOT, the directory of service bindings: not set; " in text
    assert text.endswith(f"(4) the Secret mounted at {standard_mount}: not a directory")


@pytest.mark.parametrize(
    ("missing", "more", "expected"),
    [
        ("SCOPEWRIGHT_ISSUER", {}, "SCOPEWRIGHT_ISSUER is missing; it is needed with SCOPEWRIGHT_CLIENT_ID and"),
        ("SCOPEWRIGHT_CLIENT_ID", {}, "SCOPEWRIGHT_CLIENT_ID is missing; it is needed with SCOPEWRIGHT_CLIENT_SECRET"),
        ("SCOPEWRIGHT_CLIENT_SECRET", {}, "no credential for SCOPEWRIGHT_CLIENT_ID: give one of SCOPEWRIGHT_CLIENT_SE"),
        ("", {"PRIVATE_KEY": "{}"}, "SCOPEWRIGHT_CLIENT_SECRET and SCOPEWRIGHT_PRIVATE_KEY are given: give one of"),
        ("", {"SERVICE_ACCOUNT_TOKEN_FILE": "/x"}, "SCOPEWRIGHT_CLIENT_SECRET and SCOPEWRIGHT_SERVICE_ACCOUNT_TOKEN_F"),
        ("SCOPEWRIGHT_CLIENT_SECRET", {"PRIVATE_KEY": "{}"}, "SCOPEWRIGHT_PRIVATE_KEY is not a private JWK"),
        ("", {"CLIENT_SECRET": "a\nb"}, "SCOPEWRIGHT_CLIENT_SECRET is empty or holds control characters"),
        ("", {"SECRET_DIR": "/no/such"}, "SCOPEWRIGHT_SECRET_DIR is /no/such, which is not a directory"),
    ],
)
def test_incomplete_source_is_an_error_and_not_skipped(
    standard_mount: Path, variables: SetVariables, missing: str, more: dict[str, str], expected: str
) -> None:
    secret(standard_mount, "from.standard")
    variables(**{name: value for name, value in ID.items() if name != missing})
    variables(**{f"SCOPEWRIGHT_{name}": value for name, value in more.items()})
    with pytest.raises(SecretError) as caught:
        ClientCredentials()
    assert expected in caught.value.description
    assert "SecretNumberOne" not in str(caught.value)


def test_directory_that_cannot_be_read_is_an_error_and_not_skipped(
    standard_mount: Path, variables: SetVariables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret(standard_mount, "from.standard")
    variables(SCOPEWRIGHT_SECRET_DIR="x" * 5000)
    with pytest.raises(SecretError, match="cannot be read"):
        ClientCredentials()

    def unreadable(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    variables(SCOPEWRIGHT_SECRET_DIR="", SERVICE_BINDING_ROOT=tmp_path)
    monkeypatch.setattr(Path, "iterdir", unreadable)
    with pytest.raises(SecretError, match=r"SERVICE_BINDING_ROOT is .* cannot be read: Permission denied; correct"):
        ClientCredentials()


def test_entry_that_cannot_be_read_does_not_hide_a_binding(variables: SetVariables, tmp_path: Path) -> None:
    secret(tmp_path / "bindings/oauth", "from.binding")
    (tmp_path / "bindings/broken").symlink_to("x" * 300)
    variables(SERVICE_BINDING_ROOT=tmp_path / "bindings")
    assert found().client_id == "from.binding"


def test_variables_of_other_uses_are_not_a_source(standard_mount: Path, variables: SetVariables) -> None:
    """The verifier reads SCOPEWRIGHT_ISSUER, and a mounted Secret the token of the ServiceAccount."""
    variables(SCOPEWRIGHT_ISSUER=ISSUER, SCOPEWRIGHT_SERVICE_ACCOUNT_TOKEN_FILE="/x", SCOPEWRIGHT_CLIENT_ID="")
    secret(standard_mount, "from.standard")
    assert found().client_id == "from.standard"


def test_variables_are_read_at_construction(variables: SetVariables) -> None:
    variables(**ID)
    auth = ClientCredentials()
    variables(SCOPEWRIGHT_CLIENT_SECRET="another")
    assert auth.source.read(now=True).client_secret == "SecretNumberOne"


def test_binding_of_another_provider_is_skipped(variables: SetVariables, standard_mount: Path, tmp_path: Path) -> None:
    secret(tmp_path / "bindings/database", "from.database", provider="postgres")
    (tmp_path / "bindings/empty").mkdir()
    (tmp_path / "bindings/folder/provider").mkdir(parents=True)
    (tmp_path / "bindings/file").write_text("scopewright")
    variables(SERVICE_BINDING_ROOT=tmp_path / "bindings")
    with pytest.raises(
        SecretError, match=r"no directory in .*/bindings has an entry provider with the value scopewright"
    ):
        ClientCredentials()
    variables(SERVICE_BINDING_ROOT=tmp_path / "nowhere")
    secret(standard_mount, "from.standard")
    assert found().client_id == "from.standard"


def test_several_bindings_are_an_error(variables: SetVariables, standard_mount: Path, tmp_path: Path) -> None:
    for name in ("two", "one"):
        secret(tmp_path / "bindings" / name, name)
    secret(standard_mount, "from.standard")
    variables(SERVICE_BINDING_ROOT=tmp_path / "bindings")
    with pytest.raises(SecretError, match="scopewright: one, two; set SCOPEWRIGHT_SECRET_DIR to one of them"):
        ClientCredentials()


def test_rotated_directory_of_the_chain_is_read_again(mount: Mount, variables: SetVariables, clock: FakeClock) -> None:
    variables(SCOPEWRIGHT_SECRET_DIR=mount.path)
    auth = ClientCredentials(clock=clock)
    assert auth.source.read().client_secret == "SecretNumberOne"
    mount.write(client_secret="SecretNumberTwo")
    clock.instant += 1
    assert auth.source.read().client_secret == "SecretNumberTwo"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"client_id": "a.b"}, "issuer= is missing; it is needed with client_id="),
        ({"client_id": "a.b", "issuer": ISSUER}, "no credential for client_id=: give one of client_secret=, private"),
        ({"client_secret": "x"}, "client_id= is missing; it is needed with client_secret="),
        (
            {"client_id": "a.b", "issuer": ISSUER, "client_secret": "x", "private_key": "{}"},
            "client_secret= and private_key= are given: give one of",
        ),
        ({"path": "/x", "client_id": "a.b", "issuer": ISSUER}, "given, and client_id= and issuer= too; pass one of"),
        ({"client_id": "a.b", "issuer": ISSUER, "private_key": "x"}, "private_key= is not a private JWK"),
        ({"path": ""}, "the path of the mounted Secret is empty; omit it to use the environment"),
        ({"client_id": "", "issuer": ISSUER, "client_secret": "x"}, "client_id= is empty or holds control characters"),
    ],
)
def test_contradictory_arguments_are_a_value_error(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        ClientCredentials(**arguments)


def test_argument_of_another_type_is_a_type_error() -> None:
    key: Any = json.loads(private_key("one"))
    with pytest.raises(TypeError, match="private_key= takes a string, not dict"):
        ClientCredentials(client_id="a.b", issuer=ISSUER, private_key=key)
    for path in (7, b"/var/run/secrets/oauth"):
        with pytest.raises(TypeError, match="path takes the directory of a mounted Secret, not"):
            ClientCredentials(path)  # type: ignore[arg-type]
    unusable: list[dict[str, Any]] = [{"http": object()}, {"dpop": "yes"}, {"hosts": 7}, {"resource": ["x"]}]
    for options in unusable:
        [name] = options
        with pytest.raises(TypeError, match=f"{name}= takes "):
            ClientCredentials("/var/run/secrets/oauth", **options)


def test_empty_resource_is_not_the_one_of_the_secret() -> None:
    with pytest.raises(ValueError, match="resource= is empty"):
        ClientCredentials("/var/run/secrets/oauth", "")


def test_client_secret_of_the_arguments_is_sent(endpoint: Endpoint, clock: FakeClock) -> None:
    auth = ClientCredentials(
        client_id="a.b", client_secret="SecretNumberOne", issuer=ISSUER, token_endpoint=TOKEN_ENDPOINT,
        http=endpoint.client(), clock=clock,
    )  # fmt: skip
    assert auth.token_sync().value == "token-1"
    assert endpoint.pair() == ("a.b", "SecretNumberOne")


def test_private_key_of_a_variable_signs_assertions(variables: SetVariables, clock: FakeClock) -> None:
    issuer = Issuer(clock, private_key("one"))
    lines = private_key("one").replace(", ", ",\n  ")
    variables(**ID, SCOPEWRIGHT_TOKEN_ENDPOINT=TOKEN_ENDPOINT, SCOPEWRIGHT_PRIVATE_KEY=lines)
    variables(SCOPEWRIGHT_CLIENT_SECRET="")
    assert ClientCredentials(http=issuer.client(), clock=clock).token_sync().value == "token-1"


def test_token_file_of_a_variable_is_read_again_as_it_rotates(
    variables: SetVariables, clock: FakeClock, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    variables(**ID, SCOPEWRIGHT_TOKEN_ENDPOINT=TOKEN_ENDPOINT, SCOPEWRIGHT_SERVICE_ACCOUNT_TOKEN_FILE=file)
    variables(SCOPEWRIGHT_CLIENT_SECRET="")
    auth = ClientCredentials(http=(issuer := Issuer(clock, tokens=(projected(2),))).client(), clock=clock)
    with pytest.raises(SecretError, match="there is no ServiceAccount token at"):
        auth.token_sync()
    file.write_text(projected(1, "https://kubernetes.default.svc"))
    with pytest.raises(SecretError, match=r"is for https://kubernetes.default.svc, and must be for the issuer alone"):
        auth.token_sync()
    assert issuer.forms == []
    file.write_text(projected(2))
    assert auth.token_sync().value == "token-1"
    issuer.tokens = (projected(33),)
    file.write_text(projected(33))
    clock.instant += 700
    assert auth.token_sync().value == "token-2"


def test_from_env_reads_resource_scope_and_hosts(variables: SetVariables, endpoint: Endpoint) -> None:
    variables(
        **ID | {"SCOPEWRIGHT_ISSUER": "http://issuer.svc:8080"},
        SCOPEWRIGHT_TOKEN_ENDPOINT="http://issuer.svc:8080/token",
        SCOPEWRIGHT_RESOURCE="https://payroll.example",
        SCOPEWRIGHT_SCOPE="payroll.read,payroll.write  payroll.classes",
        SCOPEWRIGHT_ALLOW_HTTP="payroll.svc issuer.svc, leave.svc:8000",
    )
    auth = ClientCredentials.from_env(http=endpoint.client())
    assert auth.token_sync()
    assert endpoint.form()["resource"] == ["https://payroll.example"]
    assert endpoint.form()["scope"] == ["payroll.read payroll.write payroll.classes"]
    assert auth._destinations.allow_http == {"payroll.svc", "issuer.svc", "leave.svc:8000"}
    other = ClientCredentials.from_env(resource="https://leave.example", scope="leave.read", allow_http=["leave.svc"])
    assert (other._parameters.resource, other._parameters.scope) == ("https://leave.example", "leave.read")
    assert other._destinations.allow_http == {"leave.svc"}


def test_chain_honours_allow_http_and_not_the_resource(variables: SetVariables, endpoint: Endpoint) -> None:
    url = "http://issuer.svc:8080"
    variables(
        **ID | {"SCOPEWRIGHT_ISSUER": url},
        SCOPEWRIGHT_TOKEN_ENDPOINT=f"{url}/token",
        SCOPEWRIGHT_ALLOW_HTTP="issuer.svc",
        SCOPEWRIGHT_RESOURCE="https://payroll.example",
    )
    assert ClientCredentials(http=endpoint.client()).token_sync()
    assert "resource" not in endpoint.form()
    explicit = ClientCredentials(
        client_id="a.b", client_secret="SecretNumberOne", issuer=url, token_endpoint=f"{url}/token"
    )
    with pytest.raises(TokenError, match="must be https"):
        explicit.token_sync()


def advised(auth: ClientCredentials) -> str:
    with pytest.raises(TokenError) as caught:
        auth.token_sync()
    return caught.value.description


def test_error_names_the_variable_where_the_environment_sets_the_option(
    variables: SetVariables, endpoint: Endpoint
) -> None:
    variables(**ID | {"SCOPEWRIGHT_ISSUER": "http://vm", "SCOPEWRIGHT_ALLOW_HTTP": "a.svc"})
    variable, argument = "set SCOPEWRIGHT_ALLOW_HTTP=a.svc,vm", 'pass allow_http=("b.svc", "vm")'
    for make in (ClientCredentials.from_env, ClientCredentials):
        assert advised(make(http=endpoint.client())).endswith(variable)
        assert advised(make(http=endpoint.client(), allow_http=["b.svc"])).endswith(argument)
    variables(MINE_CLIENT_ID="a.b", MINE_ISSUER="http://vm", MINE_CLIENT_SECRET="s")
    assert advised(ClientCredentials.from_env("MINE_", http=endpoint.client())).endswith("set MINE_ALLOW_HTTP=vm")


def test_request_over_plain_http_names_the_variable(variables: SetVariables, endpoint: Endpoint) -> None:
    variables(**ID)
    with pytest.raises(TokenError, match=r"set SCOPEWRIGHT_ALLOW_HTTP=payroll\.svc"):
        httpx.get("http://payroll.svc", auth=ClientCredentials.from_env(http=endpoint.client()))


@pytest.mark.parametrize(
    ("make", "expected"),
    [(ClientCredentials.from_env, "set SCOPEWRIGHT_RESOURCE to the audience"), (ClientCredentials, "pass resource=")],
)
def test_missing_resource_names_the_variable_only_if_it_is_read(
    variables: SetVariables, endpoint: Endpoint, make: Callable[..., ClientCredentials], expected: str
) -> None:
    variables(**ID, SCOPEWRIGHT_TOKEN_ENDPOINT=TOKEN_ENDPOINT)
    endpoint.answers = [refused("invalid_target", 400)]
    assert expected in advised(make(http=endpoint.client()))


def test_host_that_is_a_url_is_an_error_that_names_the_variable(variables: SetVariables) -> None:
    variables(**ID, SCOPEWRIGHT_ALLOW_HTTP="http://issuer.svc")
    with pytest.raises(ValueError, match="SCOPEWRIGHT_ALLOW_HTTP takes hosts"):
        ClientCredentials()


def test_another_prefix_is_another_client_without_the_rest_of_the_chain(
    variables: SetVariables, standard_mount: Path
) -> None:
    secret(standard_mount, "from.standard")
    variables(**ID)
    with pytest.raises(SecretError, match="PAYROLL_SECRET_DIR") as caught:
        ClientCredentials.from_env("PAYROLL_")
    assert "SCOPEWRIGHT_" not in caught.value.description
    variables(**{name.replace("SCOPEWRIGHT_", "PAYROLL_"): value for name, value in ID.items()})
    variables(PAYROLL_CLIENT_ID="payroll.reader")
    assert ClientCredentials.from_env("PAYROLL_").source.read().client_id == "payroll.reader"
