"""The demonstration: starts the HR system, calls it rightly and wrongly, and shows what comes back."""
