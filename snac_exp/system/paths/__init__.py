"""What lies at a path that somebody gave."""
