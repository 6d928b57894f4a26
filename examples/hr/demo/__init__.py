"""The demonstration: starts the HR system, makes permitted and forbidden calls, and shows the answers."""
