"""Files and pipes through a codec."""
