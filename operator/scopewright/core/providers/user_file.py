"""The file `users.yaml`: a list of users, of static ones with password hashes, of the developer login without.

Errors name the line and the field, and never quote a value or an unknown name: either may be a password or a hash.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Generic, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from scopewright.core.failures import Rejected

USERS_FILE: Final = "users.yaml"
MAX_FILE: Final = 1 << 20
"""Bytes."""
MAX_USERS: Final = 1000
MAX_GROUPS: Final = 200
"""Of one user."""
_MAX_VALUES: Final = 500_000
_MAX_DEPTH: Final = 8
_TEXT: Final = "tag:yaml.org,2002:str"
_COLLECTIONS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_NULL: Final = "tag:yaml.org,2002:null"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Group = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Email = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]

_HOW_TO_FILL: Final = {"passwordHash": "make it with `scopewright users hash-password`"}
_Path = tuple[str | int, ...]


class UserEntry(BaseModel):
    """A user of the file. `id` never changes: it decides the user's `sub`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    name: Name | None = None
    email: Email | None = None
    groups: Annotated[list[Group], Field(max_length=MAX_GROUPS)] = Field(default_factory=list)

    @property
    def login_name(self) -> str:
        """What the user types or chooses to log in."""
        return self.id

    def unique(self) -> Mapping[str, str]:
        """What no other user of the file has, by the name of the field."""
        return {"id": self.id}

    def claims(self) -> dict[str, Any]:
        """Return the standard claims (OpenID Connect Core §5.1) of the user, without `sub`."""
        claims: dict[str, Any] = {"name": self.name or self.login_name, "preferred_username": self.login_name}
        if self.email:
            claims |= {"email": self.email, "email_verified": True}
        return claims


U = TypeVar("U", bound=UserEntry)


class UserFile(BaseModel, Generic[U]):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    users: Annotated[list[U], Field(min_length=1, max_length=MAX_USERS)]

    @model_validator(mode="after")
    def _require_unique(self) -> Self:
        first: dict[tuple[str, str], int] = {}
        for number, user in enumerate(self.users):
            for entry in user.unique().items():
                if (other := first.setdefault(entry, number)) != number:
                    raise ValueError(f"users[{number}] has the {entry[0]} of users[{other}]; each needs its own")
        return self


def parse_user_file(data: bytes, file: type[UserFile[U]]) -> tuple[U, ...]:
    """Return the users in the order of the file. Raises `Rejected` with UsersInvalid."""
    if len(data) > MAX_FILE:
        raise _invalid("", f"larger than {MAX_FILE >> 20} MiB; list fewer users")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _invalid("", "not UTF-8 text; save it as UTF-8") from None
    content, lines = _read(text)
    try:
        return tuple(file.model_validate(content).users)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        (kind,) = get_args(file.model_fields["users"].annotation)
        raise _invalid(_place(_known(first), lines), _message(first, kind)) from None


def _read(text: str) -> tuple[Any, Mapping[_Path, int]]:
    """Return the value of the document, in which every scalar is text, and the line of each part of it by path.

    No value is constructed by its tag, and aliases are refused: nothing is larger than it is in the file.
    """
    lines: dict[_Path, int] = {}
    try:
        _check_limits(text)
        root = yaml.compose(text, Loader=_Loader)
        return (None if root is None else _value(root, (), lines)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _invalid(
            f", line {mark.line + 1}" if mark else "", "not YAML; correct the indentation or the quotes"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _invalid("", "not YAML; write it as plain YAML") from None


def _check_limits(text: str) -> None:
    """Look at the events first, because nodes are composed by recursion."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if number > _MAX_VALUES:
            raise _invalid("", f"more than {_MAX_VALUES} values; list fewer users")
        if isinstance(event, yaml.AliasEvent):
            raise _invalid(_line(event), "aliases (*name) are not allowed; write the values out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise _invalid(_line(event), f"nested deeper than {_MAX_DEPTH} levels; list users with fields")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _value(node: yaml.Node, path: _Path, lines: dict[_Path, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
        raise _invalid(_line(node), "a tag (!name) is not allowed; remove it")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node)
            if key in mapping:
                raise _invalid(_line(key_node), "a field that is twice in one mapping; remove one of them")
            lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = _value(value_node, (*path, key), lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, number), lines) for number, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> str | int | None:
    """Return text as it is. Any other scalar is a number that no field accepts, or None."""
    if node.tag == _TEXT:
        return str(node.value)
    return None if node.tag == _NULL else 0


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag != _TEXT:
        raise _invalid(_line(node), "a name of a field that is not text; write one such as id")
    return str(node.value)


def _line(part: Any) -> str:
    return f", line {part.start_mark.line + 1}"


def _known(error: Mapping[str, Any]) -> _Path:
    """Return the path of the error without the name of an unknown field."""
    return tuple(error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"])


def _place(path: _Path, lines: Mapping[_Path, int]) -> str:
    """Return the place of an error, such as `, line 3, users[0].id`."""
    known = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in lines), ())
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    return (f", line {lines[known]}" if known in lines else "") + (f", {field}" if field else "")


def _message(error: Mapping[str, Any], kind: type[UserEntry]) -> str:
    if error["type"] == "extra_forbidden":
        if not error["loc"][1:]:
            return "unknown field; at the top there is only users"
        fields = [field.alias or name for name, field in kind.model_fields.items()]
        known = f"{', '.join(fields[:-1])} and {fields[-1]}"
        return f"unknown field; a user has {known}; inside braces, a value with a comma must be in quotes"
    if error["type"] == "model_type":
        return "input should be a mapping"
    if error["type"] == "missing":
        return f"field required; {_HOW_TO_FILL.get(str(error['loc'][-1]), 'add it')}"
    if error["type"] == "string_type":
        return "input should be a valid string; put it in quotes"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _invalid(place: str, message: str) -> Rejected:
    return Rejected("UsersInvalid", f"{USERS_FILE}{place}: {message}")
