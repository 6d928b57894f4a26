"""Audit lines, metrics, traces and the use of credentials."""
