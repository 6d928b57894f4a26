"""Write the CustomResourceDefinitions: `python -m scopewright.api.crds [--check] DIR`.

With `--check`, no file is written: differences between the files in DIR and the models are printed as a unified diff,
and the exit status is 1 if there are any.
"""

import argparse
import difflib
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from scopewright.api import CATEGORY, GROUP, KINDS, VERSION, Kind
from scopewright.api.descriptions import DescribedSchema
from scopewright.api.meta import Column
from scopewright.api.schema import structural_schema

HEADER = "# Generated from operator/scopewright/api by `make crds`. Do not edit.\n"


def definition(kind: type[Kind]) -> dict[str, Any]:
    """Return the CustomResourceDefinition (apiextensions.k8s.io/v1) of one kind, as it is applied."""
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
                    "additionalPrinterColumns": [_printer_column(column) for column in kind.COLUMNS],
                    "selectableFields": [{"jsonPath": path} for path in kind.SELECTABLE],
                    "schema": {"openAPIV3Schema": structural_schema(kind, DescribedSchema)},
                }
            ],
        },
    }


def definitions() -> dict[str, dict[str, Any]]:
    """Return the CustomResourceDefinitions of all five kinds, by file name."""
    return {f"{kind.PLURAL}.yaml": definition(kind) for kind in KINDS.values()}


def _printer_column(column: Column) -> dict[str, Any]:
    written = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
        "description": column.description,
    }
    return {**written, "priority": 1} if column.wide else written


class _Dumper(yaml.SafeDumper):
    """Writes repeated values in full: anchors make the diff of a generated file hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Kubernetes reads YAML 1.1, where an unquoted y or n is a boolean; a JWK has members with these names.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))


def _render() -> dict[str, str]:
    return {
        name: HEADER + yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
        for name, crd in definitions().items()
    }


def _diff(folder: Path) -> str:
    rendered = _render()
    present = {path.name: path.read_text() for path in sorted(folder.glob("*.yaml"))}
    lines: list[str] = []
    for name in sorted(rendered.keys() | present.keys()):
        lines += difflib.unified_diff(
            present.get(name, "").splitlines(keepends=True),
            rendered.get(name, "").splitlines(keepends=True),
            fromfile=str(folder / name),
            tofile=f"{name} generated from the models",
        )
    return "".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scopewright.api.crds", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, print differences, exit 1 if there are any"
    )
    options = parser.parse_args(arguments)
    if options.check:
        differences = _diff(options.folder)
        sys.stdout.write(differences)
        return 1 if differences else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in _render().items():
        (options.folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
