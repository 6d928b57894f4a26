"""`scopewright dev`: flags, configuration and printed table."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

import scopewright.issuer
from scopewright.cli.dev import _table, dev_config, developer_login
from scopewright.cli.login_advice import LOGIN_ADVICE, line_of
from scopewright.cli.settings import http_hosts, listen
from scopewright.core.failures import Rejected
from scopewright.issuer.upstream.login import RefusedReason
from scopewright.issuer.users.login_policy import DEVELOPER
from scopewright.upstream import FailureReason


def config_of(
    listen_on: str, file: Path | None = None, issuer_url: str | None = None, **http: Any
) -> tuple[str, str, int]:
    with listen(listen_on) as listening:
        config, note = dev_config(file, issuer_url, listen_on, listening, **http)
        return config.issuer, note, listening.getsockname()[1]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "platform.yaml"


@pytest.mark.parametrize(
    ("listen_on", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        ("localhost:0", "localhost"),
        ("0.0.0.0:0", "127.0.0.1"),
        ("[::1]:0", "[::1]"),
        ("[::]:0", "[::1]"),
    ],
)
def test_the_issuer_url_is_the_address_at_which_it_listens(listen_on: str, host: str) -> None:
    issuer, note, port = config_of(listen_on)
    assert (issuer, note) == (f"http://{host}:{port}", "")


def test_an_address_that_is_not_loopback_is_refused_with_the_remedy() -> None:
    with pytest.raises(Rejected, match=r"listen on 127\.0\.0\.1:8080, or on 0\.0\.0\.0:8080 .* --issuer-url"):
        config_of("127.0.0.2:0")
    issuer, note, _ = config_of("127.0.0.2:0", issuer_url="https://issuer.test")
    assert issuer == "https://issuer.test"
    assert note == "dev listens on 127.0.0.2:0, and callers must reach it as https://issuer.test"


CONTAINER = "http://issuer:8080"


def test_an_http_issuer_of_another_host_needs_the_permission(file: Path) -> None:
    file.write_text(f"issuer: {CONTAINER}\n")
    for source in ({"issuer_url": CONTAINER}, {"file": file}):
        with pytest.raises(Rejected, match=r"add --allow-http .* SCOPEWRIGHT_ALLOW_HTTP=issuer$"):
            config_of("0.0.0.0:0", **source, http_hosts=frozenset({"payroll", "issuer:8081"}))
        for allowed in ({"allow_http": True}, {"http_hosts": {"issuer"}}, {"http_hosts": {"issuer:8080"}}):
            assert config_of("0.0.0.0:0", **source, **allowed)[0] == CONTAINER


def test_the_hosts_of_the_variable_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOPEWRIGHT_ALLOW_HTTP", "issuer, payroll:8000,")
    assert http_hosts() == {"issuer", "payroll:8000"}
    monkeypatch.delenv("SCOPEWRIGHT_ALLOW_HTTP")
    assert http_hosts() == frozenset()
    monkeypatch.setenv("SCOPEWRIGHT_ALLOW_HTTP", "http://issuer:8080")
    with pytest.raises(Rejected, match=r"SCOPEWRIGHT_ALLOW_HTTP takes hosts"):
        http_hosts()


def test_an_http_issuer_in_the_file_is_used(file: Path) -> None:
    file.write_text("issuer: http://localhost:9999\n")
    issuer, note, _ = config_of("127.0.0.1:0", file)
    assert issuer == "http://localhost:9999"
    assert "callers must reach it as http://localhost:9999" in note


def test_an_https_issuer_in_the_file_is_replaced_and_reported(file: Path) -> None:
    file.write_text("issuer: https://issuer.example.org\nclockSkew: 30s\n")
    issuer, note, port = config_of("127.0.0.1:0", file)
    assert issuer == f"http://127.0.0.1:{port}"
    assert note.startswith(f"{file} names the issuer https://issuer.example.org, and dev serves {issuer} instead")
    with listen("127.0.0.1:0") as listening:
        config, _ = dev_config(file, None, "127.0.0.1:0", listening)
        assert config.clock_skew.total_seconds() == 30


def test_the_issuer_flag_overrides_the_file(file: Path) -> None:
    file.write_text("issuer: https://issuer.example.org\n")
    assert config_of("127.0.0.1:0", file, "https://issuer.test")[0] == "https://issuer.test"


def test_a_malformed_issuer_in_the_file_is_rejected(file: Path) -> None:
    file.write_text("issuer: ftp://issuer.example.org\n")
    with pytest.raises(Rejected, match=str(file)):
        config_of("127.0.0.1:0", file)


@pytest.mark.parametrize("name", ["vault[/read]", "[red]", "[/]", "a:smile:b", "[link=https://evil.example]x[/link]"])
def test_names_are_printed_unchanged(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=200).print(_table([("leave.worker", "ready", "vault/vault", name, name)]))
    assert capsys.readouterr().out.count(name) == 2


# Users


LOOPBACK_URL = "http://127.0.0.1:8080"


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    file = tmp_path / "users.yaml"
    file.write_text("users: [{id: ada}]")
    return file


def test_users_log_in_if_the_directory_lists_them(tmp_path: Path, users_file: Path) -> None:
    for listen_on, issuer in (
        ("127.0.0.1:0", LOOPBACK_URL),
        ("localhost:0", "http://localhost:1"),
        ("[::1]:0", LOOPBACK_URL),
    ):
        assert developer_login(tmp_path, listen_on, issuer, allowed=False) == users_file
    users_file.write_text("apiVersion: scopewright.dev/v1alpha1\nkind: OAuthClient\n")
    assert developer_login(tmp_path, "0.0.0.0:0", "https://issuer.test", allowed=False) is None
    users_file.unlink()
    assert developer_login(tmp_path, "0.0.0.0:0", "https://issuer.test", allowed=False) is None


@pytest.mark.parametrize(
    ("listen_on", "issuer"),
    [
        ("0.0.0.0:0", LOOPBACK_URL),
        ("[::]:0", LOOPBACK_URL),
        ("192.0.2.1:0", LOOPBACK_URL),
        ("127.0.0.1:0", "https://issuer.test"),
        ("127.0.0.1:0", "http://127.0.0.1.evil.test"),
    ],
)
def test_users_without_passwords_stay_on_this_machine(
    tmp_path: Path, users_file: Path, listen_on: str, issuer: str
) -> None:
    with pytest.raises(Rejected, match=r"without a password.* --developer-login"):
        developer_login(tmp_path, listen_on, issuer, allowed=False)
    assert developer_login(tmp_path, listen_on, issuer, allowed=True) == users_file


def test_every_reason_that_a_refused_login_gives_has_advice() -> None:
    issuer = Path(scopewright.issuer.__file__).parent
    sources = [*(issuer / "endpoints").glob("user_*.py"), issuer / "users" / "authorization_request.py"]
    text = "".join(source.read_text() for source in sources)
    pages = re.findall(r'UntrustedRequest\([^)]*?reason="(\w+)"', text)
    assert {"unknown_client", "redirect_uri_unregistered"} <= set(pages)
    # An unbound token is one that an earlier method of the client left; "disabled" is its own advice.
    pushed = re.findall(r'PageProblem\([^)]*?reason="(\w+)"', (issuer / "users" / "pushed.py").read_text())
    assert "request_uri_used" in pushed
    reasons = {*pages, *pushed, *re.findall(r'\binvalid_grant\("(\w+)"\)', text)} - {
        "unbound_refresh_token",
        "disabled",
    }
    # Other failures of a provider have their advice in `detail`.
    upstream = {*get_args(RefusedReason), "busy", "Unreachable", "CertificateInvalid", "Refused"}
    assert reasons | upstream == set(LOGIN_ADVICE)
    assert upstream - {*get_args(RefusedReason), "busy"} <= set(get_args(FailureReason))


def test_a_scope_that_the_provider_does_not_know_is_pointed_out() -> None:
    detail = "the provider answered 'invalid_scope'"
    entry = {"event": "login", "result": "access_denied", "reason": "provider_error", "detail": detail}
    line = line_of({**entry, "client": "hr.web", "provider": "company", "error_id": "1"})
    assert line.startswith('login refused: reason "provider_error", client "hr.web", provider "company"')
    assert "the provider does not know one of oidc.scopes" in line


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({"groups": 0}, True),
        ({"groups": 1}, False),
        ({"groups": 0, "provider": DEVELOPER}, False),
        ({"event": "consent", "result": "allowed"}, False),
    ],
)
def test_a_login_without_groups_is_pointed_out(changes: dict[str, Any], printed: bool) -> None:
    """A mapping that misses the groups refuses no login: its user has less access, or none."""
    entry = {"event": "login", "result": "accepted", "provider": "company", "subject": "u-1"} | changes
    line = line_of(entry)
    assert line.startswith('login without groups: provider "company", subject u-1: ') if printed else not line
