"""Is a checkpoint sound? One file per thing that is looked at; `examine.py` calls them all."""
