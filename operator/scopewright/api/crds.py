"""Write the CustomResourceDefinitions: `python -m scopewright.api.crds [--check] DIR`.

`--check` writes nothing; it prints how the files in DIR differ from the models, and exits 1 if they do.
"""

import argparse
import difflib
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from scopewright.api import CATEGORY, GROUP, KINDS, VERSION, Kind
from scopewright.api.meta import Column
from scopewright.api.schema import structural_schema

HEADER = "# Made from operator/scopewright/api by `make crds`. Do not edit.\n"


def definition(kind: type[Kind]) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind, as it is applied."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.KIND,
                "listKind": f"{kind.KIND}List",
                "plural": kind.PLURAL,
                "singular": kind.SINGULAR,
                "shortNames": list(kind.SHORT_NAMES),
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_printed(column) for column in kind.COLUMNS],
                    "selectableFields": [{"jsonPath": path} for path in kind.SELECTABLE],
                    "schema": {"openAPIV3Schema": structural_schema(kind)},
                }
            ],
        },
    }


def definitions() -> dict[str, dict[str, Any]]:
    """All four, by the name of their file."""
    return {f"{kind.PLURAL}.yaml": definition(kind) for kind in KINDS.values()}


def _printed(column: Column) -> dict[str, Any]:
    printed = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
        "description": column.description,
    }
    return {**printed, "priority": 1} if column.wide else printed


class _Dumper(yaml.SafeDumper):
    """Repeats what is repeated: an anchor in a generated file helps nobody who reads a diff."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Kubernetes reads YAML 1.1, where a bare y or n is a truth value; a JWK has members of these names.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))


def _files() -> dict[str, str]:
    return {
        name: HEADER + yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
        for name, crd in definitions().items()
    }


def _difference(folder: Path) -> str:
    wanted = _files()
    found = {path.name: path.read_text() for path in sorted(folder.glob("*.yaml"))}
    lines: list[str] = []
    for name in sorted(wanted.keys() | found.keys()):
        lines += difflib.unified_diff(
            found.get(name, "").splitlines(keepends=True),
            wanted.get(name, "").splitlines(keepends=True),
            fromfile=str(folder / name),
            tofile=f"{name} as the models have it",
        )
    return "".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scopewright.api.crds", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing, show differences, exit 1 if there are any")
    options = parser.parse_args(arguments)
    if options.check:
        difference = _difference(options.folder)
        sys.stdout.write(difference)
        return 1 if difference else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in _files().items():
        (options.folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
