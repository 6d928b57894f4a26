"""The credential that a Pod has mounted, and how it authenticates with it, as `scopewright.client` does."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from scopewright.client.authentication import authenticate
from scopewright.client.credentials import MountedCredentials
from tests.simulation.process import EPOCH
from tests.simulation.server import NamespacedName
from tests.simulation.settings import ISSUER

FORM: Final = {b"content-type": b"application/x-www-form-urlencoded"}


@dataclass
class Pod:
    """`entries` is the mounted copy of the Secret, which may be an hour old."""

    client: NamespacedName
    entries: dict[str, str] = field(default_factory=dict)
    digest: str = ""


def authentication_form(pod: Pod, now: float) -> str:
    """The form fields that authenticate the Pod; "" if it has no credential. `now` in seconds since the start."""
    client_id = ".".join(pod.client)
    if secret := pod.entries.get("client_secret"):
        # No character of it needs an escape. HTTP Basic would carry the same in a header.
        return f"client_id={client_id}&client_secret={secret}"
    if key := pod.entries.get("private_key.jwk"):
        credentials = MountedCredentials(client_id, ISSUER, f"{ISSUER}/token", f"{ISSUER}/jwks.json", private_key=key)
        return urlencode(authenticate(credentials, EPOCH + now).form)
    return ""
