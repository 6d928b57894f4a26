"""Users: login, consent, sessions, authorization codes and refresh tokens."""
