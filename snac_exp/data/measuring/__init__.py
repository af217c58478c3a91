"""All rows of a source measured once, in parallel, and what was measured kept."""
