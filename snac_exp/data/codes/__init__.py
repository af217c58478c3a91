"""Code caches: encoding a prepared folder once, and reading it."""
