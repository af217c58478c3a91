"""From specs to batches on the way to the device, in this process or in workers."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from snac_exp.data.slices.batch import Batch, collate
from snac_exp.data.slices.dataset import AlignedDataset
from snac_exp.data.slices.sampling import SliceSpec

ItemT = TypeVar("ItemT")


def make_loader(
    dataset: AlignedDataset,
    batches: Iterable[list[SliceSpec]],
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch: int | None = None,
) -> "DataLoader[Batch]":
    """A DataLoader that yields one Batch per list of specs, in order; `prefetch` batches per worker, None = 2.

    Workers hold no state and draw nothing. The loader has a generator of its own: the default one would take a number
    from torch's global generator for every epoch, and a resumed run would not.
    """
    return QuietStart(
        dataset,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        # DataLoader refuses a prefetch factor where there are no workers.
        prefetch_factor=prefetch if num_workers else None,
        worker_init_fn=leave_signals_to_the_parent if num_workers else None,
        generator=torch.Generator(),
    )


class QuietStart(DataLoader[Any]):
    """A DataLoader whose workers start with SIGTERM blocked until their handler is installed.

    Without workers a thread of this process reads one batch ahead.
    """

    def __iter__(self) -> Any:
        if self.num_workers == 0:
            return read_ahead(super().__iter__())
        # Child processes inherit the mask: a SIGTERM that comes before their handler waits instead of ending them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def read_ahead(items: Iterator[ItemT]) -> Iterator[ItemT]:
    """The same items; a thread reads the next one, and no more, while the last one is in use.

    Decoding leaves the interpreter free, so it costs the step nothing where there is a second core.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, "read-ahead", initializer=torch.set_num_threads, initargs=(threads,)) as reader:
        # None at the end: a StopIteration would become a RuntimeError inside this generator.
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item


def leave_signals_to_the_parent(_worker: int) -> None:
    """Ctrl-C and a cluster's signals reach every process of a job: the parent finishes its step, then ends its workers.

    Only the parent's own SIGTERM ends a worker; anybody else's would make the parent fail before it has saved.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not hasattr(signal, "sigwaitinfo"):  # it tells the sender; macOS has none
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    else:
        # Blocked in every thread, so that only sigwaitinfo takes it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    # sys.exit would end this thread alone.
    os._exit(0)
