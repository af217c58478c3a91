"""Worker processes that end with whoever began them."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Have this worker end once the process that began it is gone: after a kill nobody is left to end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    # sys.exit would end this thread alone.
    os._exit(1)
