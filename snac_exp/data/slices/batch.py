"""What the trainer gets: one batch of aligned slices of codes and audio, with what is padding said in numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """One slice; see Batch for the meaning of the fields, which have no batch dimension here."""

    codes: list[Tensor]
    audio: dict[str, Tensor]
    window_tokens_valid: int
    slice_offset: int
    valid_samples: int
    row: int
    seconds: float
    source: Tensor | None = None


@dataclass(slots=True)
class Batch:
    """Aligned slices of equal length. Not frozen, since mixed precision converts a module's inputs field by field.

    codes[i] (B, T_i) int64: tokens of codebook i over the decoded window, zero beyond the end of the utterance; an
    empty list where they are to be encoded from `source`.
    source (B, 1, N) float32: audio of the window at the codec's rate, zero beyond the end; None where there are codes.
    audio[head] (B, 1, N_head) float32: target of each head over the scored slice, zero beyond the end.
    window_tokens_valid (B,): coarse tokens of the window that are real; token 0 is a real code too, so the latent of
    the others has to be zeroed by whoever decodes.
    slice_offset (B,): coarse tokens from the start of the window to the start of the scored slice; stays on the CPU, as
    `rows` do, since the program itself reads them.
    valid_samples (B,): samples of the slice, at the codec's rate, that are real; only these may carry loss.
    rows (B,): row numbers of the dataset. slice_seconds: length of one slice, padding included.
    """

    codes: list[Tensor]
    audio: dict[str, Tensor]
    window_tokens_valid: Tensor
    slice_offset: Tensor
    valid_samples: Tensor
    rows: Tensor
    slice_seconds: float
    source: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio in all slices, padding included: what the decoder has to work through."""
        return self.slice_seconds * len(self)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device; copies from pinned memory do not block."""
        moved = self._map(lambda tensor: tensor.to(device, non_blocking=True))
        return replace(moved, slice_offset=self.slice_offset, rows=self.rows)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; the DataLoader calls this by name."""
        return self._map(lambda tensor: tensor.pin_memory())

    def micro_batches(self, size: int) -> "list[Batch]":
        """Consecutive parts of at most `size` slices."""
        if size >= len(self):
            return [self]
        return [self._map(lambda tensor, i=i: tensor[i : i + size]) for i in range(0, len(self), size)]  # type: ignore[misc]

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with every tensor, of whatever shape, replaced by `function` of it."""
        return replace(
            self,
            codes=[function(codes) for codes in self.codes],
            audio={head: function(audio) for head, audio in self.audio.items()},
            window_tokens_valid=function(self.window_tokens_valid),
            slice_offset=function(self.slice_offset),
            valid_samples=function(self.valid_samples),
            rows=function(self.rows),
            source=None if self.source is None else function(self.source),
        )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack slices of equal length into one batch: codes (T_i,) -> (B, T_i), audio (N,) -> (B, 1, N)."""
    first = samples[0]
    return Batch(
        codes=[torch.stack([sample.codes[i] for sample in samples]) for i in range(len(first.codes))],
        audio={head: torch.stack([sample.audio[head] for sample in samples])[:, None] for head in first.audio},
        window_tokens_valid=torch.tensor([sample.window_tokens_valid for sample in samples]),
        slice_offset=torch.tensor([sample.slice_offset for sample in samples]),
        valid_samples=torch.tensor([sample.valid_samples for sample in samples]),
        rows=torch.tensor([sample.row for sample in samples]),
        slice_seconds=first.seconds,
        source=None if first.source is None else torch.stack([_source_of(sample) for sample in samples])[:, None],
    )


def _source_of(sample: Sample) -> Tensor:
    """Source (num,) of a sample that has one."""
    assert sample.source is not None
    return sample.source
