"""The command `scopewright`."""

import gc
import os
import sys

from scopewright.cli.library_commands import ABOUT, USAGE, fail, run

WITH_EXTRAS = ("operator", "issuer", "gateway", "dev", "dev-token", "plan", "export", "users")
"""The commands that need the extras. With them installed, typer prints the help."""


def main() -> None:
    """Run the command. If a dependency is missing, exit with the extras to install."""
    arguments = sys.argv[1:]
    # httpx imports rich and pygments for a command of its own, if both are installed.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    # pydantic searches every installed distribution for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if arguments and arguments[0] in ABOUT:
        sys.exit(run(arguments))
    if arguments == ["--version"]:
        from importlib.metadata import version

        print(f"scopewright {version('scopewright')}")
        return
    # Imported modules are no garbage. A start takes less CPU time if none is looked for among them.
    gc.disable()
    try:
        from scopewright.cli.commands import run as run_typer
    except ModuleNotFoundError as missing:
        if arguments in ([], ["--help"], ["-h"]):
            print(_help())
            sys.exit(0 if arguments else USAGE)
        if arguments[0] not in WITH_EXTRAS:
            sys.exit(fail(USAGE, "no such command: scopewright --help lists them"))
        sys.exit(
            f"scopewright: the command needs {missing.name}, which is not installed: "
            "pip install 'scopewright[operator,issuer]'"
        )
    finally:
        gc.freeze()
        gc.enable()
    run_typer()


def _help() -> str:
    lines = [f"  {name:<8} {about}" for name, about in ABOUT.items()]
    return "\n".join(
        [
            "usage: scopewright COMMAND [--help]",
            "       scopewright --version",
            "",
            *lines,
            "",
            f"With pip install 'scopewright[operator,issuer]' also: {', '.join(WITH_EXTRAS)}.",
        ]
    )


if __name__ == "__main__":
    main()
