"""Interprets a refusal of the API server: the name of the refuser, and whether a retry can help.

The API server reports every cause (RBAC, quota, admission webhook, policy, validation) as a status code and a text.
Webhooks and policies choose code and text themselves, so their names are searched before the code is used.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from scopewright.core.failures import Rejected, Unavailable

MAX_CHARACTERS: Final = 600
"""Longest part of the API server's text in a message."""
_READS: Final = ("GET ", "WATCH ")
"""Admission control checks only writes."""
IMMUTABLE: Final = "the object is immutable: delete it, and it is re-created"

_WEBHOOK_DENIED: Final = re.compile(r'admission webhook "([^"]{1,253})" denied the request')
_WEBHOOK_FAILED: Final = re.compile(r'failed calling webhook "([^"]{1,253})"')
_POLICY: Final = re.compile(r"((?:Validating|Mutating)AdmissionPolicy) '([^']{1,253})'")
_QUOTA: Final = re.compile(r"(?:exceeded|failed|status unknown for) quota: ([^,:\s]{1,253})")
_RBAC: Final = re.compile(r'User "[^"]*" cannot ')


def refusal(status: int, answer: Mapping[str, Any], what: str) -> Rejected | Unavailable | None:
    """Return `Rejected` or `Unavailable` with a reason, if text or code of the answer has a known cause; else None.

    `what` is the request, for the message. Reasons: AdmissionDenied, WebhookUnavailable, QuotaExceeded,
    NamespaceTerminating, Forbidden, Immutable, Unauthorized, Refused.
    """
    text = bounded(str(answer.get("message") or "no message"))
    return _admission(text) or _namespace(text, answer) or _by_status(status, text, what)


def _admission(text: str) -> Rejected | Unavailable | None:
    if match := _WEBHOOK_DENIED.search(text):
        return Rejected("AdmissionDenied", f"admission webhook {match[1]} denied the write: {text}")
    if match := _WEBHOOK_FAILED.search(text):
        message = f"admission webhook {match[1]} does not answer, so the API server refuses the write: {text}"
        return Unavailable(message, reason="WebhookUnavailable", refused=True)
    if match := _POLICY.search(text):
        return Rejected("AdmissionDenied", f"{match[1]} {match[2]} denied the write: {text}")
    if match := _QUOTA.search(text):
        message = f"ResourceQuota {match[1]} is exceeded; raise it, or delete what counts against it: {text}"
        return Rejected("QuotaExceeded", message)
    return None


def _namespace(text: str, answer: Mapping[str, Any]) -> Rejected | None:
    causes = (answer.get("details") or {}).get("causes") or ()
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return Rejected("NamespaceTerminating", f"the namespace is being deleted: {text}")
    return None


def _by_status(status: int, text: str, what: str) -> Rejected | None:
    match status:
        case 401:
            return Rejected("Unauthorized", f"the API server does not accept the client's identity ({what}): {text}")
        case 403 if _RBAC.search(text) or what.startswith(_READS):
            return Rejected("Forbidden", f"a right is missing: {text}")
        case 403:
            return Rejected("AdmissionDenied", f"the API server's admission control denied the write: {text}")
        case 422 if "field is immutable" in text:
            return Rejected("Immutable", f"{IMMUTABLE}: {text}")
        case 400 | 405 | 413 | 415 | 422:
            return Rejected("Refused", f"the API server refused {what}: {text}")
    return None


def refuser(text: str) -> str:
    """Return the name of the webhook, policy or quota in a message of `refusal`; empty if there is none."""
    for pattern in (_WEBHOOK_DENIED, _WEBHOOK_FAILED, _POLICY, _QUOTA):
        if match := pattern.search(text):
            return match[pattern.groups]
    return ""


def bounded(text: str) -> str:
    """Return the text as one line of at most `MAX_CHARACTERS`."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_CHARACTERS else f"{line[: MAX_CHARACTERS - 1]}…"
