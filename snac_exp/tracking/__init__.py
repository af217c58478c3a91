"""Floor 2: what a run tells."""
