"""The constants of the simulation. Periods are scaled together, so that a month has many rotations."""

from datetime import timedelta

from scopewright.core.config import Applications, AudiencePrefix, Config, UserSettings
from tests.simulation.observations import NAMESPACE

HOUR = 3600.0
MONTH = 30 * 24 * HOUR
PUBLISH_AHEAD = 24 * HOUR
RESYNC = 8 * HOUR
LONGEST_PAUSE_SECONDS = 900.0
"""Seconds between two attempts of a failing write: scaled as the resync is, so that long outages cost little."""
ISSUER = "https://issuer.example.org"

# A configuration allows at most ten minutes; a month of those would be 4,320 resyncs and little else.
CONFIG = Config(
    issuer=ISSUER,
    namespace=NAMESPACE,
    audiences=(AudiencePrefix(prefix="https://hr.example", namespaces=("payroll",)),),
    users=UserSettings(
        applications=(
            Applications(namespaces=("travel",), hosts=("travel.hr.example",)),
            Applications(namespaces=("leave",), hosts=("*.hr.example",), consent="Skippable"),
        )
    ),
).model_copy(update={"resync": timedelta(seconds=RESYNC)})
