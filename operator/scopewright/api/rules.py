"""CEL validation rules: their type, and the rules that several kinds share."""

from dataclasses import dataclass

from scopewright.api.times import NO_DAYS


@dataclass(frozen=True)
class CelRule:
    """One CEL rule (`x-kubernetes-validations`), declared in the model that it validates.

    The API server evaluates the rule from the CRD; `validation.validate` evaluates the same expression.
    A rule that contains `oldSelf` is a transition rule. It needs the old object: `validation.validate` skips it,
    `validation.validate_update` evaluates it.

    `id` names the rule in tests and comments. `message` reads `what is wrong; what to do`, or with a reason,
    `what is wrong: why; what to do`. `field` is the property of the model at which the error is reported, or empty for
    the model itself.
    """

    id: str
    rule: str
    message: str
    field: str = ""


ISSUER_IMMUTABLE = CelRule(
    "issuer-immutable",
    "(has(self.issuer) ? self.issuer : 'default') == (has(oldSelf.issuer) ? oldSelf.issuer : 'default')",
    "issuer is immutable: another installation does not know the credentials and keys of this one; "
    "delete the object and create it again with the new issuer",
    "issuer",
)


def no_days_rule(what: str, field: str) -> CelRule:
    """Return a rule that rejects the units d and w in a duration; the schema accepts them so that the rule can explain.

    `what` names the owner of the field, in the message and in the rule's id.
    """
    message = f"{field} of a {what} must use the units h, m, s and ms; {NO_DAYS}"
    return CelRule(f"{what}-{field}-has-no-days", f"!has(self.{field}) || !{_has_days(field)}", message, field)


def unless_days(*fields: str) -> str:
    """Return the CEL prefix of a rule on durations that accepts values which `no_days_rule` rejects already."""
    return "".join(f"{_has_days(field)} || " for field in fields)


def _has_days(field: str) -> str:
    return f"self.{field}.matches('[dw]')"


def timestamp_rule(field: str) -> CelRule:
    """Return a rule that rejects lists and times before 1970; the API server accepts a list for `format: date-time`."""
    return CelRule(
        f"{field}-is-a-timestamp",
        f"!has(self.{field}) || timestamp(self.{field}) >= timestamp('1970-01-01T00:00:00Z')",
        f"{field} must be an RFC 3339 timestamp, 1970 or later; write it like 2026-11-22T10:00:00Z",
        field,
    )
