"""The store that is a directory."""
