"""Sound on a page."""
