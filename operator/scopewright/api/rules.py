"""CEL rules: what one is, and those that several kinds share."""

from dataclasses import dataclass


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


def instant(field: str) -> Rule:
    """The API server takes a list for a `format: date-time`; a rule that reads the instant refuses it."""
    return Rule(
        f"{field}-is-an-instant",
        f"!has(self.{field}) || timestamp(self.{field}) >= timestamp('1970-01-01T00:00:00Z')",
        f"{field} must be an instant after 1970: write it as 2026-11-22T10:00:00Z",
        field,
    )
