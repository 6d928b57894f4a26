"""The YAML of golden cases: instants stay text, as in JSON and on the API server."""

import difflib
from typing import Any, cast

import yaml

Yaml = dict[str, Any]


def load(text: str) -> Yaml:
    return cast("Yaml", yaml.load(text, _Loader))


def dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def difference(expected: Any, actual: Any) -> str:
    """The message of a failed case: a unified diff of the expected plan and the actual one, as YAML."""
    lines = difflib.unified_diff(
        dump(expected).splitlines(), dump(actual).splitlines(), "expected", "actual", lineterm=""
    )
    return "the plan differs (UPDATE_GOLDEN=1 accepts it):\n" + "\n".join(lines)


class _Loader(yaml.SafeLoader):
    pass


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """Lists are indented below their key, and there are no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
