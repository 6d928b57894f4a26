"""Scopewright: OAuth clients as Kubernetes resources.

PYTEST_DONT_REWRITE: pytest rewrites the assertions of a package with a plugin, and warns if it was imported before.
"""
