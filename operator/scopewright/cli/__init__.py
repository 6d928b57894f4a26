"""The command `scopewright`."""

import sys


def main() -> None:
    """Run the command, or say which extra it needs: a service that only calls or verifies has none of it."""
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
