"""Access tokens: authorised, signed, exchanged, inspected."""
