"""Entries of the Secrets and ConfigMaps that an IdentityProvider names: which of them the operator reads, and how.

The operator can read every Secret of its namespace, signing keys among them. An IdentityProvider reaches only those
that their owner has made for it, by their type.
"""

import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.core.providers.static_users import STATIC_USERS_TYPE
from scopewright.core.providers.user_file import USERS_FILE
from scopewright.core.providers.view import Referenced
from scopewright.core.records.names import (
    CONFIG_MAP_PREFIXES,
    INSTALLATION_SECRETS,
    ISSUER_NAME,
    SECRET_PREFIXES,
    WRITTEN_BY_ISSUERS,
)

PROVIDER_SECRET_TYPE: Final = "scopewright.dev/identity-provider"  # noqa: S105  # a type
"""Of a Secret with the client secret or the CA certificates of an OpenID provider."""

MAX_CLIENT_SECRET: Final = 4096
"""Characters."""
MAX_CERTIFICATES: Final = 64 * 1024
"""Bytes of PEM."""

_VISIBLE: Final = re.compile(r"[ -~]+")
"""VSCHAR (RFC 6749 §A.2): what a client secret consists of."""
_RECORD_PREFIXES: Final = (*SECRET_PREFIXES, *CONFIG_MAP_PREFIXES)
_RECORD_NAMES: Final = (*INSTALLATION_SECRETS, *WRITTEN_BY_ISSUERS, ISSUER_NAME)


def client_secret(referenced: Referenced, ref: Ref, entry: str) -> bytes:
    """Return the client secret. `Rejected` if it is missing, of a Secret of another type, or not a client secret."""
    value = _entry(referenced, ref, entry, PROVIDER_SECRET_TYPE)
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not value:
        problem = "is empty"
    elif len(value) > MAX_CLIENT_SECRET:
        problem = f"has {len(value)} bytes, and a client secret has at most {MAX_CLIENT_SECRET}"
    elif value.strip(b"\r\n") != value:
        problem = "begins or ends with a line break, which is not part of a client secret"
    elif not _VISIBLE.fullmatch(text):
        problem = "is not a client secret, which has printable ASCII characters only"
    else:
        return value
    raise Rejected("SecretInvalid", f"entry {entry} of {ref} {problem}: correct the Secret")


def ca_certificates(referenced: Referenced, ref: Ref, entry: str) -> bytes:
    """Return the certificates as PEM and nothing else: a private key beside them is not copied."""
    value = _entry(referenced, ref, entry, PROVIDER_SECRET_TYPE)
    if len(value) > MAX_CERTIFICATES:
        problem = f"has {len(value)} bytes, at most {MAX_CERTIFICATES} are read"
        raise Rejected("CertificateInvalid", f"entry {entry} of {ref} {problem}: leave the needed certificates only")
    try:
        return b"".join(c.public_bytes(Encoding.PEM) for c in x509.load_pem_x509_certificates(value))
    except (ValueError, UnsupportedAlgorithm):
        message = f"entry {entry} of {ref} has no PEM certificates, or a malformed one: -----BEGIN CERTIFICATE----- …"
        raise Rejected("CertificateInvalid", message) from None


def users_file(referenced: Referenced, ref: Ref) -> bytes:
    """Return the content of entry `users.yaml`."""
    return _entry(referenced, ref, USERS_FILE, STATIC_USERS_TYPE)


def _entry(referenced: Referenced, ref: Ref, entry: str, type_: str) -> bytes:
    of_type = f" with type {type_}" if ref.kind == "Secret" else ""
    if _is_reserved(ref.name):
        message = f"{ref} is reserved by Scopewright: name another {ref.kind}{of_type}"
        raise Rejected("SecretTypeNotAllowed", message)
    found = referenced.get(ref)
    if isinstance(found, Rejected):
        raise found
    if found is None:
        raise Rejected(f"{ref.kind}NotFound", f"{ref} does not exist: create it{of_type}, or correct its name")
    if ref.kind == "Secret" and found.existing.type != type_:
        message = (
            f"{ref} does not have the type {type_}, so it is not read: create one with that type, which states that "
            "it is for identity providers (the type of a Secret cannot be changed)"
        )
        raise Rejected("SecretTypeNotAllowed", message)
    if entry not in found.entries:
        raise Rejected(f"{ref.kind}EntryMissing", f"{ref} has no entry {entry}: add it, or correct its name")
    return found.entries[entry]


def _is_reserved(name: str) -> bool:
    """Whether it is the name of a record or key, of whatever type the object is."""
    return name.startswith(_RECORD_PREFIXES) or name in _RECORD_NAMES
