"""How several processes divide one job: process `shard.index` of `shard.count` takes every count-th item."""

from snac_exp.errors import ConfigError


def require_share(index: int, count: int) -> None:
    """ConfigError unless there is a process `index` among `count`, numbered from 0."""
    if not 0 <= index < count:
        raise ConfigError(f"shard.index={index} must lie between 0 and shard.count - 1 = {count - 1}")


def share(num_items: int, index: int, count: int) -> range:
    """The items, of `num_items`, that process `index` of `count` takes.

    Raises:
        ConfigError: there is no such process.
    """
    require_share(index, count)
    return range(index, num_items, count)
