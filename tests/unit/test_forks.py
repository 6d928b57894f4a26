"""No module is imported late: a child forked while another thread imports a module can never import it."""

import subprocess
import sys
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.unit.client.support import Mount
from tests.unit.forked import slow_issuer
from tests.unit.verifier.support import AUDIENCE, NOW, token

PROGRAM = """
import sys
from scopewright.client import ClientCredentials
from scopewright.verifier import Verifier

issuer, sent, *secrets = sys.argv[1:]
before = set(sys.modules)
for secret in secrets:
    ClientCredentials(secret).token_sync()
Verifier(issuer, "%s", clock=lambda: %r).verify_sync(sent)
print(*sorted(set(sys.modules) - before))
"""


def test_fetching_and_verifying_import_no_module(tmp_path: Path) -> None:
    with slow_issuer() as issuer:
        issuer.url = issuer.url.replace("127.0.0.1", "localhost")
        endpoint = {"issuer": issuer.url, "token_endpoint": f"{issuer.url}/token"}
        key = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()))
        Mount(tmp_path / "secret", **endpoint)
        Mount(tmp_path / "key", **endpoint, client_secret=None, **{"private_key.jwk": key})
        command = [sys.executable, "-c", PROGRAM % (AUDIENCE, NOW), issuer.url, token(iss=issuer.url)]
        command += [str(tmp_path / "secret"), str(tmp_path / "key")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")
