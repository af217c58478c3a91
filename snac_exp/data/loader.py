"""From specs to batches on the way to the device, in this process or in workers."""

import signal
from collections.abc import Iterable

import torch
from torch.utils.data import DataLoader

from snac_exp.data.batch import Batch, collate
from snac_exp.data.slice_dataset import SliceDataset
from snac_exp.data.slices import SliceSpec


def make_loader(
    dataset: SliceDataset, batches: Iterable[list[SliceSpec]], num_workers: int = 0, pin_memory: bool = False
) -> "DataLoader[Batch]":
    """A DataLoader that yields one Batch per list of specs, in order.

    Workers hold no state and draw nothing. The loader has a generator of its own: the default one would take a number
    from torch's global generator for every epoch, and a resumed run would not.
    """
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_parent if num_workers else None,
        generator=torch.Generator(),
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    """Ctrl-C reaches the whole process group: the parent finishes its step, then it stops the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
