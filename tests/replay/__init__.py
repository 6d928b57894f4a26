"""The shared replay memory, with a real Valkey or Redis."""
