"""One progress display for the long data verbs: a bar on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_LINE_EVERY_SECONDS = 10.0

Advance = Callable[[int, str], None]
Display = Callable[[str, int], AbstractContextManager[Advance]]


@contextmanager
def progress_display(description: str, total: int) -> Iterator[Advance]:
    """Yield `advance(number of items done, note)`; the display goes to standard error; nothing to do shows nothing."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, description, total) as advance:
            yield advance
    else:
        plain = _PlainLines(description, total)
        yield plain.advance
        if total:
            plain.say()


@contextmanager
def _bar(console: Console, description: str, total: int) -> Iterator[Advance]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(description, total=total, note="")
        yield lambda num, note: progress.update(task, advance=num, note=note)


class _PlainLines:
    """Says where it is at most every ten seconds, for logs and pipes."""

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total = description, total
        self.done, self.note = 0, ""
        self.console = Console(stderr=True, soft_wrap=True)
        self.said_at = time.monotonic()

    def advance(self, num: int, note: str) -> None:
        self.done, self.note = self.done + num, note
        if time.monotonic() - self.said_at >= PLAIN_LINE_EVERY_SECONDS:
            self.say()

    def say(self) -> None:
        self.said_at = time.monotonic()
        self.console.print(
            f"{self.description}: {self.done}/{self.total} {self.note}".rstrip(), highlight=False, markup=False
        )
