"""No module is imported late, except those that a fork waits for.

A child forked while another thread imports a module can never import it.
"""

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
from scopewright.forks import import_for_fetch
from scopewright.verifier import Verifier
import_for_fetch()

issuer, sent, *secrets = sys.argv[1:]
before = set(sys.modules)
for secret in secrets:
    ClientCredentials(secret).token_sync()
Verifier(issuer, "%s", clock=lambda: %r).verify_sync(sent)
print(*sorted(set(sys.modules) - before))
"""


# The import of certifi takes a second, in which another thread forks. Then it takes the lock of logging, as forks do.
SLOW_IMPORT = """
import scopewright.forks
import importlib.abc, logging, os, sys, threading, time
from scopewright.verifier import Verifier

issuer, sent = sys.argv[1:]
importing = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "certifi":
            importing.set()
            time.sleep(1)
            logging.getLogger("certifi")

sys.meta_path.insert(0, Slow())
verifier = Verifier(issuer, "%s", clock=lambda: %r)
thread = threading.Thread(target=verifier.verify_sync, args=(sent,))
thread.start()
importing.wait()
pid = os.fork()
if pid == 0:
    print(verifier.verify_sync(sent).client_id, flush=True)
    os._exit(0)
thread.join()
_, status = os.waitpid(pid, 0)
print(status)
"""


def test_child_forked_during_the_import_of_httpx_fetches_and_verifies() -> None:
    with slow_issuer() as issuer:
        command = [sys.executable, "-W", "ignore", "-c", SLOW_IMPORT % (AUDIENCE, NOW), issuer.url]
        command.append(token(iss=issuer.url))
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.split(), done.stderr) == (["leave.leave-worker", "0"], "")


def test_verifier_is_imported_without_httpx() -> None:
    program = "import sys, scopewright.verifier; print(*({'httpx', 'httpcore', 'certifi'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == ""


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
