"""What a run, a cache or an export was made from, and whether a run has been made before."""
