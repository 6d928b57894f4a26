"""The whole system in one process on virtual time: see README.md."""
