"""The rules of an API as JSON, for `rules=` of the middleware."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scopewright.api import ResourceServer
from scopewright.cli.library_commands import write_output
from scopewright.core.failures import Rejected
from scopewright.core.hidden_methods import hidden_methods
from scopewright.core.http_rules import check_rules, http_access
from scopewright.core.objects import Ref
from scopewright.plan.compare import ManifestSource
from scopewright.plan.findings import rule_field
from scopewright.plan.output.lines import clean, json_text
from scopewright.verifier.rules import Rules, RulesInvalid

INVALID: Final = 1
NOT_EXPORTED: Final = 2


def export_rules(directory: str, resource_server: str | None, output_dir: Path | None) -> int:
    """Write the rules and return the exit code. Nothing is written if anything in the directory is invalid."""
    try:
        source = ManifestSource.read(directory)
        if source.manifests.problems:
            return _failed(INVALID, *map(str, source.manifests.problems))
        servers = _chosen(_with_rules(source), resource_server, directory, several=output_dir is not None)
        exported: dict[Ref, Rules] = {}
        problems: list[str] = []
        warnings: list[str] = []
        for ref, server in servers.items():
            try:
                # The platform's configuration, which decides about hostnames and open paths, does not matter here.
                exported[ref] = check_rules(server, http_access(server))
            except RulesInvalid as error:
                problems.append(f"{source.find(ref, rule_field(server, error.rule))}: {ref}: {error}")
                continue
            for hidden in hidden_methods(http_access(server)):
                where = source.find(ref, rule_field(server, hidden.rule))
                warnings.append(f"warning: {where}: {ref}: {hidden.message}")
        if problems:
            return _failed(INVALID, *problems)
        _write(exported, output_dir)
        if warnings:
            _complain(*warnings)
    except Rejected as error:
        return _failed(NOT_EXPORTED, *error.message.splitlines())
    return 0


def _with_rules(source: ManifestSource) -> dict[Ref, ResourceServer]:
    servers = {
        ref: ResourceServer.model_validate(manifest)
        for ref, manifest in sorted(source.manifests.objects.items())
        if ref.kind == ResourceServer.KIND
    }
    return {ref: server for ref, server in servers.items() if server.spec.http is not None}


def _chosen(
    servers: Mapping[Ref, ResourceServer], name: str | None, directory: str, *, several: bool
) -> dict[Ref, ResourceServer]:
    if not servers:
        raise Rejected("NoRules", f"no ResourceServer in {directory} has rules: add spec.http to one")
    names = [f"{ref.namespace}/{ref.name}" for ref in servers]
    if name is not None:
        chosen = {ref: server for ref, server in servers.items() if f"{ref.namespace}/{ref.name}" == name}
        if not chosen:
            raise Rejected("NoRules", f"--resource-server {name} has no rules: pass one of {', '.join(names)}")
        return chosen
    if len(servers) > 1 and not several:
        message = "several ResourceServers have rules: pass one of these as --resource-server, or pass --output-dir:"
        raise Rejected("SeveralRules", "\n".join([message, *names]))
    return dict(servers)


def _write(exported: Mapping[Ref, Rules], output_dir: Path | None) -> None:
    texts = {ref: json_text(found.document()) for ref, found in exported.items()}
    if output_dir is None:
        write_output("".join(texts.values()))
        return
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        for ref, text in texts.items():
            (output_dir / f"{ref.namespace}.{ref.name}.json").write_text(text, encoding="utf-8")
    except OSError as error:
        where = error.filename or output_dir
        message = (
            f"{where} cannot be written ({error.strerror}): pass a directory that you may write to as --output-dir"
        )
        raise Rejected("CannotWrite", message) from None


def _failed(code: int, *lines: str) -> int:
    _complain(*lines)
    return code


def _complain(*lines: str) -> None:
    sys.stderr.write("scopewright: " + "\n  ".join(map(clean, lines)) + "\n")
