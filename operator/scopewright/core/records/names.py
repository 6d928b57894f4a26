"""Names, types, labels and entries of the Secrets and ConfigMaps that hold records."""

from typing import Final

from scopewright.core.objects import digest

ENTRY: Final = "record.json"
PRIVATE_KEY_ENTRY: Final = "private.pem"
KEY_ENTRY: Final = "key"
ROTATE_ENTRY: Final = "rotate"
"""Beside the seal key and the session key: the value of `scopewright.dev/rotate` when it was created."""
ISSUE_TIME_ENTRY: Final = "issue-time"
"""Beside the session key: when it was created, as an RFC 3339 time."""
MAX_PREVIOUS_KEYS: Final = 7
"""Of the session key. With one rotation every 30 days, a consent of 180 days can be opened until its end."""

CLIENT_TYPE: Final = "scopewright.dev/client-record"
SIGNING_KEY_TYPE: Final = "scopewright.dev/signing-key-record"
SEAL_KEY_TYPE: Final = "scopewright.dev/seal-key"
NONCE_KEY_TYPE: Final = "scopewright.dev/nonce-key"
SESSION_KEY_TYPE: Final = "scopewright.dev/session-key"
IDENTITY_PROVIDER_TYPE: Final = "scopewright.dev/identity-provider-record"

CLIENT_SECRET_ENTRY: Final = "client_secret"  # noqa: S105  # the name of an entry
CA_ENTRY: Final = "ca.crt"
USERS_ENTRY: Final = "users.json"
"""Beside the record of an IdentityProvider: its client secret, the certificates of its CA, its static users."""

RECORD_LABEL: Final = "scopewright.dev/record"
"""On ConfigMaps, which have no type: `resource-server`, `audience`, `hostname`, `usage`, `revocations`, `issuer`.
Watches select by it; only the name is proof."""

CLIENT_PREFIX: Final = "client."
SERVER_PREFIX: Final = "resourceserver."
AUDIENCE_PREFIX: Final = "audience."
HOSTNAME_PREFIX: Final = "hostname."
KEY_PREFIX: Final = "signingkey."
PROVIDER_PREFIX: Final = "identityprovider."
SECRET_PREFIXES: Final = (CLIENT_PREFIX, KEY_PREFIX, PROVIDER_PREFIX)
CONFIG_MAP_PREFIXES: Final = (SERVER_PREFIX, AUDIENCE_PREFIX, HOSTNAME_PREFIX)
"""Of the names of all records, by the kind of their object: nothing else in the issuer's namespace may have them."""
ISSUER_NAME: Final = "scopewright-issuer"
USAGE_NAME: Final = "scopewright-usage"
REVOCATIONS_NAME: Final = "scopewright-revocations"
WRITTEN_BY_ISSUERS: Final = (USAGE_NAME, REVOCATIONS_NAME)
"""ConfigMaps that the operator creates and issuers update. Issuers may write nothing else."""
SEAL_KEY_NAME: Final = "scopewright-seal"
NONCE_KEY_NAME: Final = "scopewright-nonce"
SESSION_KEY_NAME: Final = "scopewright-sessions"
INSTALLATION_SECRETS: Final = (SEAL_KEY_NAME, NONCE_KEY_NAME, SESSION_KEY_NAME)

LOCAL_CLUSTER: Final = "in-cluster"
"""Name of the cluster that the operator runs in."""


def client_record_name(namespace: str, name: str) -> str:
    """Return a unique name: neither a namespace nor a client's name contains a dot."""
    return f"{CLIENT_PREFIX}{namespace}.{name}"


def resource_server_record_name(namespace: str, name: str) -> str:
    return f"{SERVER_PREFIX}{namespace}.{name}"


def audience_claim_name(audience: str) -> str:
    """Return the name of the claim of an audience. The first creation succeeds, all others fail."""
    return f"{AUDIENCE_PREFIX}{digest(audience)[:32]}"


def hostname_claim_name(hostname: str, base_path: str) -> str:
    """Return the name of the claim of a hostname with a base path: as for audiences."""
    return f"{HOSTNAME_PREFIX}{digest(hostname + base_path)[:32]}"


def key_record_name(kid: str) -> str:
    """Return a name from the digest of the `kid`, which is case-sensitive, while names of objects are lower-case."""
    return f"{KEY_PREFIX}{digest(kid)[:32]}"


def identity_provider_record_name(name: str) -> str:
    return f"{PROVIDER_PREFIX}{name}"


def previous_key_entry(number: int) -> str:
    """Return the entry of a previous session key, from 1 for the latest to MAX_PREVIOUS_KEYS."""
    return f"previous-{number}"
