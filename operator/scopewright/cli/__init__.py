"""The command `scopewright`."""

import sys


def main() -> None:
    """Run the command. If a dependency is missing, exit with the extras to install."""
    try:
        from scopewright.cli.commands import run
    except ModuleNotFoundError as missing:
        sys.exit(
            f"scopewright: the command needs {missing.name}, which is not installed: "
            "pip install 'scopewright[operator,issuer]'"
        )
    run()


if __name__ == "__main__":
    main()
