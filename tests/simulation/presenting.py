"""What a Pod has mounted, and how it proves by that who it is: as `scopewright.client` does."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from scopewright.client.authentication import authenticate
from scopewright.client.mounted import MountedCredentials
from tests.simulation.process import EPOCH
from tests.simulation.server import At
from tests.simulation.settings import ISSUER

FORM: Final = {b"content-type": b"application/x-www-form-urlencoded"}


@dataclass
class Pod:
    """What it has mounted: a copy of the Secret as it was some time ago."""

    client: At
    entries: dict[str, str] = field(default_factory=dict)
    digest: str = ""


def presented(pod: Pod, now: float) -> str:
    """The form fields that authenticate it; empty where it has nothing. `now` in seconds since the simulation began."""
    client_id = ".".join(pod.client)
    if secret := pod.entries.get("client_secret"):
        # Nothing in it needs an escape. Basic would say the same in a header.
        return f"client_id={client_id}&client_secret={secret}"
    if key := pod.entries.get("private_key.jwk"):
        credentials = MountedCredentials(client_id, ISSUER, f"{ISSUER}/token", f"{ISSUER}/jwks.json", private_key=key)
        return urlencode(authenticate(credentials, EPOCH + now).form)
    return ""
