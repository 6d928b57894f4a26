"""The store that is a Kubernetes API server."""
