"""`python -m scopewright.cli`."""

from scopewright.cli import main

main()
