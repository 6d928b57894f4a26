"""The cluster that `scopewright dev` takes the place of: its ServiceAccounts, and the key that signs their tokens.

Every ServiceAccount exists. Only `dev` configures an issuer to trust the key, which is a file of its STATE directory.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import jwt

from scopewright.controller.key_generation import client_pair, make_key
from scopewright.core.clusters import ClusterConfig
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.core.records.names import LOCAL_CLUSTER
from scopewright.stores.directory.atomic_files import checked, replace_file
from scopewright.stores.directory.state_dir import spare_file

CLUSTER_ISSUER: Final = "https://cluster.dev.invalid"
"""The `iss` of its tokens. No real cluster has it: names below `.invalid` do not exist (RFC 2606 §2)."""

KEY_FILE: Final = "cluster-key.jwk"
_ALGORITHM: Final = "ES256"
_PUBLIC_MEMBERS: Final = ("alg", "crv", "kid", "kty", "use", "x", "y")
_UIDS: Final = uuid.uuid5(uuid.NAMESPACE_URL, CLUSTER_ISSUER)


def service_account_uid(account: Ref) -> str:
    """Return the UID of a ServiceAccount: the same each time, so that `dev-token` knows it too."""
    return str(uuid.uuid5(_UIDS, f"{account.namespace}/{account.name}"))


def _private_jwk(data: bytes) -> dict[str, Any]:
    members = json.loads(data)
    if not isinstance(members, dict) or not members.keys() >= {*_PUBLIC_MEMBERS, "d"}:
        raise ValueError("not a private JWK with a kid")
    if (members["kty"], members["crv"], members["alg"]) != ("EC", "P-256", _ALGORITHM):
        raise ValueError(f"not a key for {_ALGORITHM}")
    jwt.PyJWK(members)
    return members


class LocalCluster:
    """The key is kept for the lifetime of STATE."""

    def __init__(self, private_jwk: Mapping[str, Any]) -> None:
        self._private_jwk = dict(private_jwk)

    @classmethod
    def open(cls, state: Path) -> Self:
        """Read the key in STATE, or create it. Call it while this process is the only writer of STATE."""
        if (state / KEY_FILE).exists():
            return cls.read(state)
        private = client_pair(make_key(_ALGORITHM)).private
        try:
            replace_file(state / KEY_FILE, private, spare_file(state))
        except OSError as error:
            fix = "make STATE writable, or choose another --state"
            raise Rejected("BadState", f"{state / KEY_FILE} cannot be written ({error.strerror}): {fix}") from None
        return cls(json.loads(private))

    @classmethod
    def read(cls, state: Path) -> Self:
        """Read the key in STATE. Raise `Rejected` if there is none."""
        file = state / KEY_FILE
        try:
            members = _private_jwk(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            fix = "start `scopewright dev DIR` first, or name its STATE directory with --state"
            raise Rejected("NoState", f"{state} is not the STATE directory of `scopewright dev`: {fix}") from None
        except OSError as error:
            raise Rejected("NoState", f"{file} cannot be read ({error.strerror}): run as the user of dev") from None
        except (ValueError, RecursionError, TypeError, jwt.PyJWTError):
            raise Rejected("DamagedKey", f"{file} is damaged: remove it, and restart `scopewright dev`") from None
        return cls(members)

    def trusted_by(self, config: Config) -> Config:
        """Return the configuration of an issuer that accepts tokens of this cluster as those of `in-cluster`."""
        public = {name: self._private_jwk[name] for name in _PUBLIC_MEMBERS}
        here = ClusterConfig(name=LOCAL_CLUSTER, issuer=CLUSTER_ISSUER, keys=(public,))
        clusters = tuple(here if cluster.name == LOCAL_CLUSTER else cluster for cluster in config.clusters)
        return config.model_copy(update={"clusters": clusters})

    def token(self, account: Ref, audience: str, lifetime: timedelta, now: datetime) -> str:
        """Return a token with the claims of one that the kubelet projects, without those of a Pod and its node."""
        checked(account)
        issued_at = int(now.timestamp())
        claims = {
            "aud": [audience],
            "exp": issued_at + int(lifetime.total_seconds()),
            "iat": issued_at,
            "iss": CLUSTER_ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": {
                "namespace": account.namespace,
                "serviceaccount": {"name": account.name, "uid": service_account_uid(account)},
            },
            "nbf": issued_at,
            "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
        }
        key = jwt.PyJWK(self._private_jwk)
        return jwt.encode(claims, key.key, _ALGORITHM, {"kid": self._private_jwk["kid"]})
