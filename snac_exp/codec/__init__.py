"""The codec: geometry, checkpoints, heads and their starts, the multi-rate model."""
