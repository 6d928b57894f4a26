"""The platform's configuration: a YAML file, overridden by flags and environment variables."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scopewright.api.schema import StructuralSchema
from scopewright.api.validation import error_message
from scopewright.core.config import Config
from scopewright.core.failures import Rejected


def load_config(
    file: Path | None,
    given: Mapping[str, Any],
    otherwise: Mapping[str, Any] | None = None,
    *,
    allow_http: bool = False,
) -> Config:
    """The configuration of a YAML file, overridden by `given` (flags and environment; None: not set).

    `otherwise` has the defaults of both. With `allow_http`, the issuer may be an http URL of any host.
    """
    content: dict[str, Any] = {**(otherwise or {}), **(_read(file) if file else {})}
    content = _over(content, given)
    try:
        return Config.model_validate(content, context={"allow_http": allow_http})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, loc)) or 'config'}: {message}" for loc, message in _messages(error)]
        where = f"{file}" if file else "the configuration"
        raise Rejected("BadConfig", f"{where} cannot be used:\n" + "\n".join(lines)) from None


def _messages(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield where each error is, and what to do. A list whose items are wrong is not too short as well."""
    details = error.errors(include_url=False, include_input=False)
    schema = Config.model_json_schema(schema_generator=StructuralSchema)
    for detail in details:
        where = detail["loc"]
        items_are_wrong = any(other["loc"][:-1] == where for other in details)
        if detail["type"] != "too_short" or not items_are_wrong:
            yield where, error_message(schema, detail)


def _over(content: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Override the content with `given`, entry by entry; None, and a mapping without other values, is ignored."""
    result = dict(content)
    for name, value in given.items():
        if isinstance(value, Mapping):
            inner = _over(below if isinstance(below := result.get(name), Mapping) else {}, value)
            if inner:
                result[name] = inner
        elif value is not None:
            result[name] = value
    return result


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected("BadConfig", f"{file} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise Rejected("BadConfig", f"{file} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise Rejected("BadConfig", f"{file} must hold a mapping such as `issuer: https://issuer.example.org`")
    return content
