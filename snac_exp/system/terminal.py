"""Tables on terminals and in files."""

import rich.console

FILE_WIDTH = 200  # columns where the output is no terminal and so has no width of its own


class Console(rich.console.Console):
    """Rich's console, which leaves it to the command what happens when the reader has left."""

    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is handled; rich itself would exit with status 1."""
        raise


def console() -> Console:
    """A console as wide as the terminal, or wide enough for our tables."""
    found = Console(soft_wrap=False)
    return found if found.is_terminal else Console(width=FILE_WIDTH)
