"""Tables on terminals and in files."""

from rich.console import Console

FILE_WIDTH = 200  # columns where the output is no terminal and so has no width of its own


def console() -> Console:
    """A console as wide as the terminal, or wide enough for our tables."""
    found = Console(soft_wrap=False)
    return found if found.is_terminal else Console(width=FILE_WIDTH)
