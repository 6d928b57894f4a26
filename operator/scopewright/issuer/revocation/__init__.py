"""What has ended before its expiry."""
