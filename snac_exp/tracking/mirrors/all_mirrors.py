"""The trackers of one run, of which none can end it: metrics.jsonl is the truth and has every line."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Mirror(Protocol):
    """A tracker that is given the lines of metrics.jsonl, and knows by their numbers, from 1, which ones it has."""

    @property
    def title(self) -> str:
        """What messages call it."""
        ...

    def log(self, number: int, line: Mapping[str, Any]) -> None:
        """Show line `number`, unless it has that line."""
        ...

    def rewind(self, num_lines: int) -> None:
        """Take back what comes after line `num_lines`."""
        ...

    def close(self, failed: bool) -> None:
        """Finish, as failed or as done."""
        ...


class AllMirrors:
    """Hands lines to several trackers; one that fails is told of once and given nothing more.

    A resume opens it anew, and makes up for what it lacks.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._mirrors: list[Mirror] = []

    def add(self, mirror: Mirror) -> None:
        """One more tracker."""
        self._mirrors.append(mirror)

    def log(self, number: int, line: Mapping[str, Any]) -> None:
        """Show a line in all of them."""
        self._each(lambda mirror: mirror.log(number, line))

    def rewind(self, num_lines: int) -> None:
        """Take back what comes after line `num_lines` in all of them."""
        self._each(lambda mirror: mirror.rewind(num_lines))

    def close(self, failed: bool) -> None:
        """Finish all of them."""
        self._each(lambda mirror: mirror.close(failed))

    def _each(self, act: Callable[[Mirror], None]) -> None:
        for mirror in list(self._mirrors):
            try:
                act(mirror)
            except Exception as error:  # W&B's own, the network's, the disk's: the run goes on without
                self._mirrors.remove(mirror)
                self._tell(
                    f"{mirror.title} takes no more ({one_line(error)}): the run goes on without it; metrics.jsonl has "
                    "every line, and a resume makes up for what is missing"
                )


def one_line(error: Exception) -> str:
    """What an error of a library says: of pydantic's several lines, each setting with its fault."""
    errors = getattr(error, "errors", None)
    if callable(errors):
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in errors())
    return " ".join(str(error).split()) or type(error).__name__
