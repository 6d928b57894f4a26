"""The names that a golden case uses in place of secrets, digests and keys."""

import json
from collections.abc import Mapping
from typing import Any

from scopewright.controller.key_generation import client_pair
from scopewright.core.objects import digest
from scopewright.core.records.names import key_record_name
from tests.harness.samples import named_key


class Names:
    """All names of one case. Each value that was made from a name is known, and `shown` puts the name in its place."""

    def __init__(self) -> None:
        self._by_digest: dict[str, str] = {}
        self._by_kid: dict[str, str] = {}
        self._by_private_key: dict[str, str] = {}

    def secret(self, name: str) -> str:
        """The digest of the client secret of this name, whose value is the name itself."""
        self._by_digest[digest(name)] = name
        return digest(name)

    def jwk(self, name: str) -> Mapping[str, str]:
        """The public JWK of the key of this name."""
        key = named_key(name)
        self._by_kid[key.jwk["kid"]] = name
        self._by_private_key[key.pem.decode()] = name
        return key.jwk

    def private_jwk(self, name: str) -> bytes:
        """The private JWK of the key of this name, as a credential Secret holds it."""
        self.jwk(name)
        private = client_pair(named_key(name)).private
        self._by_private_key[private.decode()] = name
        self._by_digest[digest(private)] = f"private key {name}"
        return private

    def entry(self, value: str) -> bytes:
        """The content of an entry: `secret one` is the secret named one, `key one` a private JWK, all else literal."""
        if value.startswith("secret "):
            self.secret(value.removeprefix("secret "))
            return value.removeprefix("secret ").encode()
        if value.startswith("key "):
            return self.private_jwk(value.removeprefix("key "))
        return value.encode()

    def of_key_record(self, name: str) -> str | None:
        """The name of the key whose record has this Kubernetes name; None for other objects."""
        return next((key for kid, key in self._by_kid.items() if name == key_record_name(kid)), None)

    def shown(self, value: Any) -> Any:
        """The YAML value, with a name in place of each digest, kid and key."""
        if isinstance(value, dict):
            if set(value) >= {"kty", "kid"} and value["kid"] in self._by_kid:
                return f"public key {self._by_kid[value['kid']]}"
            return {key: self.shown(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.shown(each) for each in value]
        return self._shown_text(value) if isinstance(value, str) else value

    def _shown_text(self, text: str) -> str:
        if text in self._by_private_key:
            return f"private key {self._by_private_key[text]}"
        if text in self._by_digest:
            return f"sha256 of {self._by_digest[text]}"
        if text.startswith("{") and (name := self._by_kid.get(json.loads(text).get("kid", ""))):
            return f"public key {name}"
        for kid, name in self._by_kid.items():
            text = text.replace(kid, name)
        return text
