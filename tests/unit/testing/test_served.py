"""The fake issuer as a server: metadata, JWKS, tokens, introspection and revocation for services in any language."""

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from authlib.integrations.httpx_client import OAuth2Client

from scopewright.client import ClientCredentials
from scopewright.testing import FakeIssuer
from scopewright.testing.__main__ import main
from scopewright.verifier import Verifier
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import SECRET

API = "https://api.test"


@pytest.fixture(scope="module")
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture(scope="module")
def url(issuer: FakeIssuer) -> Iterator[str]:
    with issuer.serve() as url:
        yield url


def post(issuer: FakeIssuer, path: str, *, auth: Any = True, **form: Any) -> httpx.Response:
    authenticated = ("test.client", issuer.client_secret()) if auth is True else auth
    return httpx.post(f"{issuer.issuer}{path}", data=form, auth=authenticated)


def token(issuer: FakeIssuer, **form: Any) -> httpx.Response:
    return post(issuer, "/token", **({"grant_type": "client_credentials"} | form))


def test_service_verifies_tokens_by_the_url(issuer: FakeIssuer, url: str) -> None:
    verifier = Verifier(url, API)
    assert verifier.verify_sync(issuer.token("payroll.read")).issuer == url
    assert issuer.verifier().verify_sync(issuer.token()).issuer == url


def test_url_of_the_issuer_is_restored() -> None:
    issuer = FakeIssuer()
    with issuer.serve() as url:
        assert issuer.issuer == url
    assert issuer.issuer == "https://issuer.test"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/jwks.json")


def test_kept_connection_is_not_answered_after_the_end() -> None:
    with httpx.Client() as client:
        with FakeIssuer().serve() as url:
            client.get(f"{url}/jwks.json")
        with pytest.raises(httpx.TransportError):
            client.get(f"{url}/jwks.json")


def test_port_may_be_chosen(url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with FakeIssuer().serve(port) as served:
        assert served == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match="in use"), FakeIssuer().serve(port):
            pass


@pytest.mark.parametrize("name", ["oauth-authorization-server", "openid-configuration"])
async def test_metadata_is_that_of_the_real_issuer(issuer: FakeIssuer, url: str, name: str) -> None:
    """But for assertions: clients of the fake issuer have secrets."""
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    async with harness.running(), httpx.AsyncClient() as client:
        real = (await harness.http.get(f"/.well-known/{name}")).json()
        fake = (await client.get(f"{url}/.well-known/{name}")).json()
    assert fake.keys() == {each for each in real if not each.endswith("_auth_signing_alg_values_supported")}
    same = {each for each in fake if not each.endswith("_auth_methods_supported")}
    assert {each: fake[each] for each in same} == {each: at(url, real["issuer"], real[each]) for each in same}


def at(url: str, issuer: str, value: Any) -> Any:
    return value.replace(issuer, url) if isinstance(value, str) else value


def test_client_of_another_library_gets_a_token(issuer: FakeIssuer, url: str) -> None:
    metadata = httpx.get(f"{url}/.well-known/oauth-authorization-server").json()
    with OAuth2Client("leave.worker", issuer.client_secret("leave.worker"), scope="payroll.read") as client:
        granted = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", resource=API)
    key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(granted["access_token"])
    claims = jwt.decode(granted["access_token"], key, algorithms=["ES256"], audience=API, issuer=url)
    assert (claims["client_id"], claims["scope"]) == ("leave.worker", "payroll.read")


def test_client_gets_tokens_with_a_written_secret(issuer: FakeIssuer, url: str, tmp_path: Path) -> None:
    folder = issuer.write_secret(tmp_path / "a/b", client="leave.worker", scope="payroll.read payroll.write")
    assert folder == tmp_path / "a/b"
    token = ClientCredentials(folder).token_sync()
    assert token.scopes == {"payroll.read", "payroll.write"}
    assert issuer.verifier().verify_sync(token.value).client_id == "leave.worker"


def test_requests_for_tokens_are_answered(issuer: FakeIssuer, url: str) -> None:
    response = token(issuer, scope="b a b", resource="https://other.test")
    body = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "b a")
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["sub"]) == ("https://other.test", "test.client")


def test_credentials_may_be_in_the_body(issuer: FakeIssuer, url: str) -> None:
    secret = issuer.client_secret("leave.worker")
    assert token(issuer, auth=None, client_id="leave.worker", client_secret=secret).status_code == 200


def test_client_id_of_http_basic_is_form_encoded(issuer: FakeIssuer, url: str) -> None:
    assert token(issuer, auth=("leave%2Eworker", issuer.client_secret("leave.worker"))).status_code == 200


WRONG_SECRET = ("test.client", "wrong")
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGED = {"grant_type": EXCHANGE, "subject_token": "a.b.c", "subject_token_type": ACCESS_TOKEN}
BAD_REQUESTS = [
    ({"auth": None}, 401, "invalid_client"),
    ({"auth": WRONG_SECRET}, 401, "invalid_client"),
    ({"auth": None, "client_id": "test.client", "client_secret": "wrong"}, 401, "invalid_client"),
    ({"grant_type": ""}, 400, "invalid_request"),
    ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ({"scope": ["a", "b"]}, 400, "invalid_request"),
    ({"resource": ["https://a.test", "https://b.test"]}, 400, "invalid_target"),
    ({"grant_type": EXCHANGE}, 400, "invalid_request"),
    ({"grant_type": EXCHANGE, "subject_token": "a.b.c"}, 400, "invalid_request"),
    ({**EXCHANGED, "subject_token_type": "urn:x"}, 400, "invalid_request"),
    ({**EXCHANGED, "requested_token_type": "urn:ietf:params:oauth:token-type:id_token"}, 400, "invalid_request"),
    ({**EXCHANGED, "actor_token": "a.b.c"}, 400, "invalid_request"),
    ({"client_secret": "any"}, 400, "invalid_request"),
    ({"client_id": "other.client"}, 400, "invalid_request"),
    ({"scope": 'a"b'}, 400, "invalid_scope"),
]


@pytest.mark.parametrize(("form", "status", "error"), BAD_REQUESTS)
async def test_bad_requests_get_the_errors_of_the_real_issuer(
    issuer: FakeIssuer, url: str, form: dict[str, Any], status: int, error: str
) -> None:
    harness = IssuerHarness()
    harness.install_defaults()
    async with harness.running():
        sent = {"auth": ("leave.leave-worker", SECRET), "grant_type": "client_credentials"} | form
        real = await harness.http.post("/token", auth=sent.pop("auth"), data=sent)
    assert (real.status_code, real.json()["error"]) == (status, error)
    fake = token(issuer, **form)
    assert (fake.status_code, fake.json()["error"]) == (status, error)
    assert fake.headers.get("www-authenticate") == real.headers.get("www-authenticate")


@pytest.mark.parametrize("path", ["/jwks.json", "/revocations", "/.well-known/oauth-authorization-server"])
async def test_documents_are_cached_as_those_of_the_real_issuer(issuer: FakeIssuer, url: str, path: str) -> None:
    harness = IssuerHarness(can_write=True)
    harness.install_defaults()
    async with harness.running():
        real = await harness.http.get(path)
    async with httpx.AsyncClient() as client:
        fake = await client.get(f"{url}{path}")
    assert fake.headers["cache-control"] == real.headers["cache-control"]


@pytest.mark.parametrize("header", [b"Bearer abc", b"Basic", b"Basic !", b"Basic YQ==", b"Basic \xe4", b"Basic /w=="])
def test_malformed_credentials_are_refused(url: str, header: bytes) -> None:
    form = {"grant_type": "client_credentials"}
    refused = httpx.post(f"{url}/token", data=form, headers=[(b"Authorization", header)])
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_other_methods_paths_and_bodies_are_refused(issuer: FakeIssuer, url: str) -> None:
    wrong_method = httpx.get(f"{url}/token")
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert httpx.post(f"{url}/token", json={}).json()["error"] == "invalid_request"
    assert httpx.get(f"{url}/nowhere").status_code == 404
    assert httpx.post(f"{url}/jwks.json", data={"a": "b"}).status_code == 404
    assert httpx.post(f"{url}/token", content=b"a" * 300_000).status_code == 413
    assert httpx.head(f"{url}/jwks.json").content == b""


def test_token_is_introspected_and_revoked(issuer: FakeIssuer, url: str) -> None:
    own = issuer.token("a", claims={"cnf": {"jkt": "b"}})
    active = post(issuer, "/introspect", token=own).json()
    assert (active["active"], active["token_type"], active["scope"]) == (True, "DPoP", "a")
    assert post(issuer, "/introspect", token=issuer.token("a")).json()["token_type"] == "Bearer"
    assert post(issuer, "/introspect", token="nonsense").json() == {"active": False}
    assert post(issuer, "/introspect", token=issuer.token(expires_in=-1)).json() == {"active": False}
    assert post(issuer, "/introspect").json()["error"] == "invalid_request"
    assert post(issuer, "/introspect", token=own, auth=None).status_code == 401
    other = issuer.token(client="other.client")
    assert post(issuer, "/revoke", token=other).status_code == 200
    assert post(issuer, "/introspect", token=other).json()["active"] is True
    assert post(issuer, "/revoke", token=own).json() == {}
    assert post(issuer, "/introspect", token=own).json() == {"active": False}
    feed = httpx.get(f"{url}/revocations").json()
    assert feed["issuer"] == url
    assert len(feed["tokens"]) == 1


def test_unavailable_issuer_answers_503(issuer: FakeIssuer, url: str) -> None:
    with issuer.unavailable():
        for response in (httpx.get(f"{url}/jwks.json"), token(issuer)):
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert token(issuer).status_code == 200


def test_tests_in_other_languages_get_any_token(issuer: FakeIssuer, url: str) -> None:
    arguments = {"scopes": ["a"], "client": "leave.worker", "roles": ["admin"], "audience": "https://other.test"}
    response = httpx.post(f"{url}/testing/token", json=arguments)
    token = issuer.verifier(audience="https://other.test").verify_sync(response.text)
    assert (token.client_id, token.scopes, token.roles) == ("leave.worker", frozenset({"a"}), frozenset({"admin"}))
    assert httpx.post(f"{url}/testing/token", json={}).status_code == 200
    one = httpx.post(f"{url}/testing/token", json={"scopes": "payroll.read payroll.write"})
    assert issuer.verifier().verify_sync(one.text).scopes == {"payroll.read", "payroll.write"}


def test_token_with_a_malformed_expiry_is_not_active(issuer: FakeIssuer, url: str) -> None:
    malformed = issuer.token(claims={"exp": "tomorrow"})
    assert post(issuer, "/introspect", token=malformed).json() == {"active": False}
    assert post(issuer, "/revoke", token=malformed).status_code == 200


def test_closed_connection_prints_nothing(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
        client.sendall(b"GET /jwks.json HTTP/1.1\r\n\r\n" * 50)
    with socket.create_connection(address) as client:
        client.sendall(b"GET http://[ HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("body", ["", "[]", '{"scopes": 1}', '{"scope": ["a"]}', '{"on_behalf_of": "a"}'])
def test_bad_arguments_of_a_token_are_refused(url: str, body: str) -> None:
    response = httpx.post(f"{url}/testing/token", content=body)
    assert response.status_code == 400
    assert (
        "arguments of FakeIssuer.token as JSON, and a list of scopes as scopes" in response.json()["error_description"]
    )


def test_issuer_with_a_path_serves_below_it() -> None:
    issuer = FakeIssuer("https://issuer.test/tenant")
    assert issuer.verifier().verify_sync(issuer.token()).issuer == "https://issuer.test/tenant"
    assert issuer.credentials().token_sync().value


def test_command_serves_and_writes_a_secret(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scopewright.testing", "--audience", API, "--secret", str(tmp_path / "secret")]
    command += ["--client", "leave.worker", "--scope", "payroll.read", "--algorithm", "RS256"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("fake issuer ready at ").strip()
            token = ClientCredentials(tmp_path / "secret").token_sync()
            verified = Verifier(url, API, algorithms=["RS256"]).verify_sync(token.value)
            assert (verified.client_id, verified.scopes) == ("leave.worker", frozenset({"payroll.read"}))
        finally:
            process.terminate()
        assert process.stdout.read() == ""


def test_issuer_with_a_trailing_slash_is_refused() -> None:
    with pytest.raises(ValueError, match="trailing slash"):
        FakeIssuer("https://issuer.test/")


def test_process_writes_the_secret_before_its_port_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed = list[str]()

    def probe(issuer: FakeIssuer, _: Path, **__: object) -> Path:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(issuer.issuer.rpartition(":")[2])))
        probed.append(issuer.issuer)
        raise KeyboardInterrupt  # main() ends

    monkeypatch.setattr(FakeIssuer, "write_secret", probe)
    monkeypatch.setattr(sys, "argv", ["scopewright.testing", "--secret", str(tmp_path / "secret")])
    main()
    assert len(probed) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nothing"], "unrecognized arguments"),
        (["--port", "65536"], "--port: a port is a number from 0 to 65535"),
        (["--port", "TAKEN"], "--port TAKEN: Address already in use"),
        (["--algorithm", "HS256"], "--algorithm: invalid choice: 'HS256'"),
        (["--secret", "/dev/null/secret"], "/dev/null/secret: Not a directory"),
    ],
)
def test_command_refuses_options_that_it_cannot_use(options: list[str], message: str, url: str) -> None:
    taken = url.rpartition(":")[2]
    command = [sys.executable, "-m", "scopewright.testing", *(each.replace("TAKEN", taken) for each in options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message.replace("TAKEN", taken) in done.stderr.splitlines()[-1]
