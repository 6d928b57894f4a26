"""The replay memory that processes share, against a real Valkey or Redis."""
