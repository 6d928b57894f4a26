class ControlPlaneError(Exception):
    """The control plane cannot be built or started; the message says what to do."""
