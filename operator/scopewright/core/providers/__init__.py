"""Identity providers: what the operator reads, checks and copies into their records. Pure."""
