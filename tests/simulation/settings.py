"""The figures of the simulated simulation: periods are scaled down together, so that a month sees many rotations."""

from datetime import timedelta

from scopewright.core.config import AudiencePrefix, Config
from tests.simulation.ledger import NAMESPACE

HOUR = 3600.0
MONTH = 30 * 24 * HOUR
PUBLISH_AHEAD = 24 * HOUR
RESYNC = 8 * HOUR
LONGEST_PAUSE = 900.0
"""Seconds between two attempts at what fails: scaled as the resync is, so that hours of an outage cost little."""
ISSUER = "https://issuer.example.org"

# Ten minutes is the most that a real configuration may say; a month of those would be 4,320 listings and little else.
CONFIG = Config(
    issuer=ISSUER,
    namespace=NAMESPACE,
    audiences=(AudiencePrefix(prefix="https://hr.example", namespaces=("payroll",)),),
).model_copy(update={"resync": timedelta(seconds=RESYNC)})
