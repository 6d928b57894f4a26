"""`scopewright plan`: what manifests would change, without a write."""
