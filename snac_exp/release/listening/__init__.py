"""The page to listen."""
