"""Environment variables as `verifier`, `client` and the command read them."""

import re
from typing import Final

ALLOW_HTTP: Final = "SCOPEWRIGHT_ALLOW_HTTP"


def listed(text: str | None) -> list[str]:
    """The items of a value. They are separated by spaces or commas."""
    return [item for item in re.split(r"[\s,]+", text or "") if item]
