"""An HR system of three services that authorise each other with Scopewright."""
