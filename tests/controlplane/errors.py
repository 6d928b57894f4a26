class ControlPlaneError(Exception):
    """The control plane cannot be had; the message says what to do about it."""
