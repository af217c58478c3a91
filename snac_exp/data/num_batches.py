"""How many batches an epoch has; apart from their making, so that a plan is drawn without waiting for NumPy."""


def num_batches_of(num_items: int, batch_size: int, world_size: int) -> int:
    """Batches of an epoch; a rest of fewer items than there are ranks is joined to the last batch."""
    whole, rest = divmod(num_items, batch_size)
    # Where the rest is the only batch there is none to join it to.
    return whole if whole and rest < world_size else whole + (rest > 0)
