"""Floor 1: the codec, its geometry, its heads and their starts."""
