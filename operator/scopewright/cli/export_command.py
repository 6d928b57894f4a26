"""`scopewright export`: what manifests declare, for other programs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Write what manifests declare in the form that other programs read.", no_args_is_help=True)


@app.command()
def rules(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Directory with the manifests; `-`: standard input.")],
    resource_server: Annotated[
        str | None,
        typer.Option(
            "--resource-server", metavar="NAMESPACE/NAME", help="ResourceServer. Default: the only one with rules."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", metavar="OUT", help="Write NAMESPACE.NAME.json for each ResourceServer to OUT."),
    ] = None,
) -> None:
    """Print the rules in `spec.http` of a ResourceServer, for `rules=` of the middleware.

    Exit codes: 0: exported. 1: manifests or rules are invalid. 2: nothing was exported for another reason.
    """
    from scopewright.cli.export_rules import export_rules

    raise typer.Exit(export_rules(directory, resource_server, output_dir))
