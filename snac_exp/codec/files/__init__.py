"""Files that hold a codec."""
