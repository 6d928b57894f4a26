"""The peers of `tokens`: node oidc-provider, and go-oauth2, a compiled one. They get the requests of the first case."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from bench.benchmark import BenchmarkError
from bench.one_response import response
from bench.token_cases import LIFETIME, Case
from bench.token_clients import AUDIENCE, ISSUER, SCOPE, client_id, secret
from bench.token_requests import RequestBatch
from bench.token_servers import TokenServer
from tests.controlplane.processes import Child
from tests.go_program import go_program
from tests.ports import free_port

OIDC_PROVIDER: Final = "node oidc-provider"
GO_OAUTH2: Final = "go-oauth2"
_PEER: Final = Path(__file__).with_name("peers")
_INSTALL_TIMEOUT_SECONDS: Final = 600.0
_GO_COLLECTOR: Final = "400"
"""GOGC: it collects garbage less often than by default, for a quarter less CPU time and 10 MB."""


def start_oidc_provider(like: TokenServer, case: Case, workers: int, folder: Path) -> TokenServer:
    """Start node oidc-provider; it gets the requests that `like` gets for this case."""
    port, log, settings = free_port(), folder / "oidc-provider.log", folder / "oidc-provider.json"
    settings.write_text(json.dumps({**_settings(port, case), "workers": workers, "jwk": _private_jwk()}))
    node = shutil.which("node")
    assert node is not None
    command = [node, str(folder / "peers" / "oidc-provider.mjs"), str(settings)]
    return TokenServer("oidc-provider", OIDC_PROVIDER, port, Child(command, log=log, cwd=folder), log, like.requests)


def start_go_oauth2(like: TokenServer, case: Case, workers: int, folder: Path) -> TokenServer:
    """Start go-oauth2, one process with a thread for each worker; it gets the requests that `like` gets."""
    port, log, settings = free_port(), folder / "go-oauth2.log", folder / "go-oauth2.json"
    settings.write_text(json.dumps(_settings(port, case)))
    try:
        program = go_program(GO_OAUTH2, _PEER / GO_OAUTH2, ("main.go", "go.mod", "go.sum"), ldflags="-s -w")
    except AssertionError as error:
        raise BenchmarkError(f"{error}; or pass --no-peer") from None
    environment = {"GOMAXPROCS": str(workers), "GOGC": _GO_COLLECTOR}
    child = Child([str(program), str(settings)], log=log, cwd=folder, environment=environment)
    return TokenServer(GO_OAUTH2, GO_OAUTH2, port, child, log, like.requests)


def install_oidc_provider(folder: Path) -> None:
    """Put its programs into `peers` of the directory. Its packages come from npm once, and then from a cache."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise BenchmarkError("node and npm are not installed: install them, or pass --no-peer")
    shutil.copytree(_PEER, folder / "peers", dirs_exist_ok=True)
    modules = folder / "peers" / "node_modules"
    if not modules.exists():
        modules.symlink_to(_packages() / "node_modules")


def _packages() -> Path:
    """The folder with the installed packages of `package-lock.json`, made whole or not at all."""
    files = [_PEER / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scopewright" / "bench"
    home = cache / f"peers-{digest[:20]}"
    if home.exists():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    with tempfile.TemporaryDirectory(dir=cache, prefix=".installing-") as scratch:
        made = Path(scratch) / "peers"
        made.mkdir()
        for file in files:
            shutil.copy(file, made)
        try:
            done = subprocess.run(
                command, cwd=made, capture_output=True, text=True, check=False, timeout=_INSTALL_TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"npm ci did not complete within {_INSTALL_TIMEOUT_SECONDS:.0f} s") from None
        if done.returncode:
            raise BenchmarkError(f"npm ci: {done.stderr.strip()}")
        with contextlib.suppress(OSError):  # another run has installed them
            made.rename(home)
    return home


def require_es256(peer: TokenServer, case: Case) -> None:
    """Raise BenchmarkError unless the peer answers with an access token that is a JWT with an ES256 signature."""
    request = case.requests(RequestBatch(clients=1, count=1, port=peer.port))[0]
    token = json.loads(response(peer.port, request).partition(b"\r\n\r\n")[2])["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    if jwt.get_unverified_header(token)["alg"] != "ES256" or claims["client_id"] != client_id(0):
        raise BenchmarkError(f"{peer.name} issues {token!r}")


def _settings(port: int, case: Case) -> dict[str, Any]:
    clients = [(client_id(n), secret(n)) for n in range(case.clients)]
    content = {"port": port, "issuer": ISSUER, "audience": AUDIENCE, "scope": SCOPE, "lifetime": LIFETIME}
    return {**content, "clients": clients}


def _private_jwk() -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    values = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    encoded = {n: base64.urlsafe_b64encode(v.to_bytes(32)).decode().rstrip("=") for n, v in values.items()}
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench", **encoded}
