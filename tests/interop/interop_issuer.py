"""The issuer of the interoperability tests, with a caller, a called service and a key of every algorithm."""

import json
import time
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.interop.served import TOKEN_EXCHANGE_GRANT
from tests.running import Running

ALGORITHMS: Final = ("ES256", "ES384", "RS256", "PS256", "Ed25519")
"""Algorithms of SigningKeys; the `alg` of tokens is EdDSA if the key is Ed25519."""

PAYROLL: Final = "https://payroll-api.payroll.svc"
EMPLOYEES: Final = "https://employee-api.employee.svc"
WORKER: Final = "leave.leave-worker"
SERVER: Final = "payroll.payroll-server"

_CONFIG: Final = "{jwksMaxAge: 1s, replicaLag: 0s}"
"""Configuration with which a key signs as soon as it is published."""


class InteropIssuer:
    """`scopewright dev`. Client ids have dots and hyphens, which some libraries percent-encode in Basic."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._jwk: dict[str, Any] = ECAlgorithm.to_jwk(key, as_dict=True) | {"kid": "assertion-1", "alg": "ES256"}
        self.running = Running(folder, {"all.yaml": "\n---\n".join(map(json.dumps, self._manifests()))}, _CONFIG)

    def _manifests(self) -> list[dict[str, Any]]:
        public = {name: value for name, value in self._jwk.items() if name != "d"}
        by_es256 = {"tokens": {"signingKey": "es256"}}
        payroll = {"scopes": [{"name": "payroll.read"}], "servedBy": ["payroll-server"], **by_es256}
        everywhere = [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read"]}]
        manifests = [
            _manifest("ResourceServer", "payroll", "payroll-api", payroll),
            _grant("payroll", "payroll-api", "payroll.read", ("leave", "leave-worker"), ("leave", "leave-assertion")),
            _manifest(
                "ResourceServer", "employee", "employee-api", {"scopes": [{"name": "employee.read"}], **by_es256}
            ),
            _grant(
                "employee", "employee-api", "employee.read", ("leave", "leave-worker"), ("payroll", "payroll-server")
            ),
        ]
        for algorithm in ALGORITHMS:
            name = algorithm.lower()
            api = {"scopes": [{"name": "payroll.read"}], "tokens": {"signingKey": name}}
            manifests += [
                _manifest("SigningKey", "scopewright-system", name, _key(algorithm)),
                _manifest("ResourceServer", "payroll", name, api),
                _grant("payroll", name, "payroll.read", ("leave", "leave-worker")),
            ]
            everywhere.append({"resourceServer": name, "namespace": "payroll", "scopes": ["payroll.read"]})
        employees = [{"resourceServer": "employee-api", "namespace": "employee", "scopes": ["employee.read"]}]
        by_key = {"method": "PrivateKeyJWT", "jwks": {"keys": [public]}}
        return [
            *manifests,
            _manifest("OAuthClient", "leave", "leave-worker", {"access": everywhere + employees}),
            _manifest("OAuthClient", "leave", "leave-assertion", {"authentication": by_key, "access": everywhere[:1]}),
            _manifest(
                "OAuthClient",
                "payroll",
                "payroll-server",
                {"access": employees, "grantTypes": ["client_credentials", TOKEN_EXCHANGE_GRANT]},
            ),
        ]

    @staticmethod
    def algorithms() -> dict[str, str]:
        """The audience whose tokens have this `alg`, by `alg`."""
        return {"EdDSA" if name == "Ed25519" else name: f"https://{name.lower()}.payroll.svc" for name in ALGORITHMS}

    def job(self) -> dict[str, Any]:
        """The input of a program: URLs, clients and tokens."""
        clients: dict[str, Any] = {"assertion": {"id": "leave.leave-assertion", "jwk": self._jwk}}
        for name, (namespace, client) in {
            "worker": ("leave", "leave-worker"),
            "server": ("payroll", "payroll-server"),
        }.items():
            client_id, secret = self.running.secret(namespace, client)
            clients[name] = {"id": client_id, "secret": secret}
        algorithms = self.algorithms()
        worker = clients["worker"]["id"], clients["worker"]["secret"]
        return {
            "issuer": self.running.url,
            "audience": PAYROLL,
            "target": EMPLOYEES,
            "algorithms": algorithms,
            "tokens": {name: self._token(worker, audience) for name, audience in algorithms.items()},
            "clients": clients,
        }

    def _token(self, who: tuple[str, str], resource: str) -> str:
        form = {"grant_type": "client_credentials", "resource": resource}
        end = time.monotonic() + 20
        while (answer := httpx.post(f"{self.running.url}/token", data=form, auth=who)).status_code == 503:
            assert time.monotonic() < end, answer.text
            time.sleep(0.1)
        assert answer.status_code == 200, answer.text
        return str(json.loads(answer.text)["access_token"])


def _manifest(kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "scopewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _grant(namespace: str, api: str, scope: str, *to: tuple[str, str]) -> dict[str, Any]:
    clients = [{"namespace": of, "client": client} for of, client in to]
    return _manifest("ScopeGrant", namespace, api, {"resourceServer": api, "scopes": [scope], "to": clients})


def _key(algorithm: str) -> dict[str, Any]:
    return {"algorithm": algorithm, "rotation": {"publishAhead": "0s"}}
