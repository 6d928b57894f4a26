"""Watch → queue → plan → apply → status. Only `watch` imports kopf, and no handler decides anything."""
