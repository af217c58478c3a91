"""Tables and a picture of the statistics of tokens."""
