"""Real runs of the smallest recipe."""

from tests.helpers.tiny_runs import one_thread, tiny

__all__ = ["one_thread", "tiny"]
