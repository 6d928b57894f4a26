"""The plan for an OAuthClient: its record, its Secret, its status."""
