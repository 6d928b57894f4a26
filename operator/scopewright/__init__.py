"""Scopewright: OAuth clients as Kubernetes resources."""
