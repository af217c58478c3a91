"""Several sources in one training: whose rows come when, how much of each, and what was seen of each."""
