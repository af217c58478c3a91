"""The thread that keeps an index up to date, while somebody looks."""

import threading
import time

from snac_exp.board.index import Index

LOOKED_SECONDS = 15.0  # without a reader for so long, nothing is read any more
_LEAST_SHARE = 5  # a look that takes long is followed by a pause so many times as long


class Watch:
    """Refreshes an index once, and then again and again for readers."""

    def __init__(self, index: Index, every_seconds: float) -> None:
        self.index, self._every = index, every_seconds
        self._closing, self._asked = threading.Event(), threading.Event()
        self._last_asked, self._is_behind = 0.0, False
        # A daemon: a question to SLURM that hangs holds up no end.
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)

    def start(self) -> None:
        """Begin; the first look is not waited for."""
        self._thread.start()

    def asked(self) -> None:
        """Somebody looks."""
        self._last_asked = time.monotonic()
        self._asked.set()

    @property
    def is_behind(self) -> bool:
        """Whether nothing was read for want of readers, and the look that makes up for it has not ended."""
        return self._is_behind

    def close(self) -> None:
        """End; a look under way ends with the file at hand."""
        self._closing.set()
        self._asked.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            self.index.refresh(lambda: not self._closing.is_set())
            took, self._is_behind = time.monotonic() - began, False
            if self._closing.wait(max(self._every, _LEAST_SHARE * took if self.index.num_refreshes > 1 else 0)):
                return
            self._asked.clear()  # before the time is looked at, or who asks in between would wait for the next to ask
            if time.monotonic() - self._last_asked > LOOKED_SECONDS:
                self._is_behind = True
                self._asked.wait()
