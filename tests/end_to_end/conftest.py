"""The webhook on this machine."""

from tests.helpers.webhook import webhook

__all__ = ["webhook"]
