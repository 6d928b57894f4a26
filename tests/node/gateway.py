"""The gateway of the chart in a Pod, and the rules of an API."""

import json
from typing import Any, Final

from tests.chart.helm import NAMESPACE, Values, merged

from .system import RELEASE, System

GATEWAY: Final = f"{RELEASE}-gateway"
"""The Deployment, and the Service."""
_ONE_POD: Final[Values] = {
    "enabled": True,
    "autoscaling": {"enabled": False},
    "replicas": 1,
    "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/issuer/ca.crt"}],
    "extraVolumes": [{"name": "issuer", "configMap": {"name": "issuer"}}],
    "extraVolumeMounts": [{"name": "issuer", "mountPath": "/etc/issuer", "readOnly": True}],
}


def start_gateway(system: System, release: Values, **gateway: Any) -> None:
    """Add a gateway of one Pod, with these settings, to a release with these values. It is ready once rolled out."""
    system.publish_authority(NAMESPACE)
    system.helm("upgrade", merged(release, {"gateway": {**_ONE_POD, **gateway}}))
    system.resolve_in(GATEWAY)


def declare(system: System, team: str, http: dict[str, Any] | None) -> None:
    """Set or remove `spec.http` of the team's API."""
    change = json.dumps({"spec": {"http": http}})
    server = f"resourceservers.scopewright.dev/{team}-api"
    system.kubectl("patch", f"--namespace={team}", server, "--type=merge", "--patch", change)
