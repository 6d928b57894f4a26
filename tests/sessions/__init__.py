"""The shared session store, with a real Valkey or Redis."""
