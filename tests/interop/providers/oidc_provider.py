"""node oidc-provider as a process, at which users log in by name and password."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx

from tests.interop.providers.login_form import LoginForm
from tests.interop.toolchains import build_node, built_from
from tests.interop.users.programs import running
from tests.ports import free_port

_HERE: Final = Path(__file__).parent / "node"
_PROGRAM: Final = "oidc_provider.mjs"
LOGIN_FORM: Final = LoginForm("provider-login", "name", "password", "provider-log-in")


class OidcProvider:
    """A context manager. `settings` are those of the program. After another start it has no sessions and tokens."""

    def __init__(
        self, url: str, settings: Mapping[str, Any], folder: Path, trust: ssl.SSLContext | bool = True
    ) -> None:
        self.url, self._folder, self._trust = url, folder, trust
        self._file = folder / "provider.json"
        self._file.write_text(json.dumps(settings))
        self._process = ExitStack()

    def start(self) -> None:
        command = ["node", str(_program() / _PROGRAM), str(self._file)]
        log = self._folder / "provider.log"
        self._process.enter_context(running(command, f"{self.url}/test/", {}, log, self._trust))

    def stop(self) -> None:
        self._process.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def rotate_key(self, alg: str) -> None:
        """Sign with a new key from now on; the old one is no longer published."""
        self._post("keys", {"alg": alg})

    def change_user(self, user: str, **changes: Any) -> None:
        """Change `groups`, for example, or set `disabled`."""
        self._post("users", {"user": user, "changes": changes})

    @contextmanager
    def failing_tokens(self) -> Iterator[None]:
        """Inside, the token endpoint answers 503."""
        self._post("failing", {"failing": True})
        try:
            yield
        finally:
            self._post("failing", {"failing": False})

    def authorization_requests(self) -> list[dict[str, str]]:
        """The parameters of each one so far."""
        return httpx.get(f"{self.url}/test/", verify=self._trust).raise_for_status().json()  # type: ignore[no-any-return]

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        httpx.post(f"{self.url}/test/{path}", json=body, verify=self._trust).raise_for_status()


def oidc_provider(
    folder: Path,
    client: Mapping[str, Any],
    users: Mapping[str, Mapping[str, Any]],
    *,
    claims_in_id_token: bool = True,
    tls: Mapping[str, str] | None = None,
    trust: ssl.SSLContext | bool = True,
) -> OidcProvider:
    """`client` is its metadata (OpenID Connect Registration §2). `users` have id, password, name, email and groups, by
    login name. `tls` has `key` and `cert`, as PEM, and `trust` what its own requests trust.
    """
    url = f"{'https' if tls else 'http'}://127.0.0.1:{free_port()}"
    settings = {"issuer": url, "client": client, "users": users, "tls": tls, "claimsInIDToken": claims_in_id_token}
    return OidcProvider(url, settings, folder, trust)


def _program() -> Path:
    packages = {name: (_HERE / name).read_bytes() for name in ("package.json", "package-lock.json")}
    home = built_from("node", packages, build_node)
    program = {_PROGRAM: (_HERE / _PROGRAM).read_bytes()}
    return built_from("node", program, lambda folder: (folder / "node_modules").symlink_to(home / "node_modules"))
