"""CEL rules: what one is, and those that several kinds share."""

from dataclasses import dataclass

from scopewright.api.times import NO_DAYS


@dataclass(frozen=True)
class Rule:
    """One CEL rule, declared beside the fields it is about.

    The CRD carries it to the API server and `validation.validate` evaluates the same text, so the two cannot differ.
    `field` is the property, below the model that declares the rule, at which the message is shown.
    A rule that mentions `oldSelf` is a transition rule: only the API server, which knows the old object, evaluates it.
    """

    id: str
    rule: str
    message: str
    field: str = ""

    @property
    def transition(self) -> bool:
        return "oldSelf" in self.rule


ISSUER_IMMUTABLE = Rule(
    "issuer-immutable",
    "(has(self.issuer) ? self.issuer : 'default') == (has(oldSelf.issuer) ? oldSelf.issuer : 'default')",
    "issuer cannot be changed: another installation would not know what this one has issued; "
    "delete the object and create it again with the other issuer",
    "issuer",
)


def without_days(what: str, field: str) -> Rule:
    """The API server's schema takes days and weeks in a duration; a rule says how to write them.

    `what` is where the field belongs, in the message and in the rule's id.
    """
    message = f"{field} of a {what} has the units h, m, s and ms: {NO_DAYS}"
    return Rule(f"{what}-{field}-has-no-days", f"!has(self.{field}) || !{_has_days(field)}", message, field)


def unless_days(*fields: str) -> str:
    """The beginning of a rule about durations, which says nothing where `without_days` speaks already."""
    return "".join(f"{_has_days(field)} || " for field in fields)


def _has_days(field: str) -> str:
    return f"self.{field}.matches('[dw]')"


def instant(field: str) -> Rule:
    """The API server takes a list for a `format: date-time`; a rule that reads the instant refuses it."""
    return Rule(
        f"{field}-is-an-instant",
        f"!has(self.{field}) || timestamp(self.{field}) >= timestamp('1970-01-01T00:00:00Z')",
        f"{field} must be an instant after 1970: write it as 2026-11-22T10:00:00Z",
        field,
    )
