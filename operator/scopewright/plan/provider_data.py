"""Stand-ins for the Secrets and ConfigMaps that IdentityProviders name: a plan never reads what is in them.

The operator would refuse an IdentityProvider without them. A plan assumes that they exist and are valid, as it does for
ServiceAccounts: they are rarely in the directory with the manifests, and often encrypted there.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from scopewright.api import IdentityProvider
from scopewright.core.objects import Existing, Ref
from scopewright.core.providers.secrets import PROVIDER_SECRET_TYPE
from scopewright.core.providers.static_users import STATIC_USERS_TYPE, StaticUser, encode_static_users
from scopewright.core.providers.user_file import MAX_GROUPS, USERS_FILE
from scopewright.stores import Entries

_HASH: Final = "$argon2id$v=19$m=19456,t=2,p=1$cGxhY2Vob2xkZXJwbGFjZQ$cGxhY2Vob2xkZXJwbGFjZWhvbGRlcnBsYWNlaG9sZGU"
"""No password has this hash: it is text."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def stand_ins(provider: IdentityProvider, groups: Iterable[str] = ()) -> Iterator[tuple[Existing, Entries]]:
    """Yield what the object names, each with the type and the entries that it must have. Static users are in `groups`:
    those that the record of the provider names.
    """
    entries: dict[Ref, dict[str, bytes]] = {}
    oidc, static = provider.spec.oidc, provider.spec.static
    if oidc and (secret := oidc.client_authentication.secret_ref):
        entries.setdefault(Ref("Secret", provider.namespace, secret.name), {})[secret.key] = b"placeholder"
    if oidc and (ca := oidc.ca_certificate_ref):
        entries.setdefault(Ref(ca.kind, provider.namespace, ca.name), {})[ca.key] = _certificate()
    if static:
        entries[Ref("Secret", provider.namespace, static.users_ref.name)] = {USERS_FILE: _users(tuple(groups))}
    type_ = STATIC_USERS_TYPE if static else PROVIDER_SECRET_TYPE
    for ref, content in entries.items():
        yield Existing(ref, "", "", type_ if ref.kind == "Secret" else ""), content


def _users(groups: tuple[str, ...]) -> bytes:
    """One user, or as many as have all the groups."""
    users = [
        StaticUser.model_validate(
            {"id": f"placeholder-{start}", "passwordHash": _HASH, "groups": list(groups[start : start + MAX_GROUPS])}
        )
        for start in range(0, max(len(groups), 1), MAX_GROUPS)
    ]
    return encode_static_users(users)


@cache
def _certificate() -> bytes:
    """Some certificate, as PEM. Nothing is connected to, so nothing is signed by it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, _EPOCH, _EPOCH + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
