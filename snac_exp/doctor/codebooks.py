"""Dead codebooks: by what validation counted, by what training reached, by the entries themselves."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from snac_exp.doctor.findings import Finding, note, problem
from snac_exp.doctor.groups import moments_of
from snac_exp.doctor.opening import OpenedCheckpoint

NAME = re.compile(r"(?:^|\.)quantizers\.(\d+)\.codebook\.weight$")

# Less than a tenth in use: the codebook carries three bits less than it has. Below half: worth knowing.
DEAD_SHARE, SPARSE_SHARE = 0.1, 0.5
# One entry of 1024 for nearly every token, however few were counted.
COLLAPSED_PERPLEXITY = 2.0
# With ten tokens per entry an entry that is used like the others is missed once in 20,000 times.
TOKENS_PER_ENTRY = 10
# Steps within which every entry in use has surely been chosen.
STEPS_TO_REACH_ALL = 1000
# Entries are compared by their direction; nearer than this, float32 cannot tell two of them apart.
SAME_COSINE = 1 - 1e-6
# A pretrained codebook has a few such entries; a tenth is a codebook that collapses.
DUPLICATE_SHARE, NOTED_SHARE = 0.1, 0.01
_ROWS_AT_ONCE = 4096  # 64 MB of cosines for 4096 entries


def examine_codebooks(opened: OpenedCheckpoint, lines: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Findings about every codebook, from three sources, each where it is there:

    counts: `codebook/i/perplexity` of the last validation, and `codebook/i/usage` if it counted ten tokens per entry;
    moments: entries that no gradient ever reached in a thousand steps were never chosen; weights: entries of length 0,
    and entries of the same direction, of which only the first can ever be chosen.
    """
    reached = {item.name: item for item in moments_of(opened)}
    for name, weight in opened.model.items():
        found = NAME.search(name)
        if found is None or not weight.isfinite().all():  # the check of values names it
            continue
        yield from _by_counts(name, int(found[1]), len(weight), lines)
        item = reached.get(name)
        if item is not None and item.steps >= STEPS_TO_REACH_ALL:
            # An entry that is never chosen gets no gradient, so its second moment stays exactly 0.
            used = float(item.state["exp_avg_sq"].any(dim=1).float().mean())
            yield from _by_share(name, used, f"of its entries were ever chosen in {item.steps} steps of training")
        yield from _by_weights(name, weight.float())


def _by_counts(name: str, index: int, size: int, lines: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    counted = [line for line in lines if line.get(f"codebook/{index}/perplexity") is not None]
    if not counted:
        return
    last = counted[-1]
    tokens, used = last.get(f"codebook/{index}/tokens") or 0, last.get(f"codebook/{index}/usage")
    if last[f"codebook/{index}/perplexity"] < COLLAPSED_PERPLEXITY:
        text = f"collapsed: a perplexity of {last[f'codebook/{index}/perplexity']:.2f} at step {last['step']}"
        yield problem("codebooks", name, f"{text}: nearly all tokens are one entry")
    elif used is not None and tokens >= TOKENS_PER_ENTRY * size:
        where = f"of its entries occur in {tokens:.0f} validation tokens at step {last['step']}"
        yield from _by_share(name, float(used), where)


def _by_share(name: str, used: float, where: str) -> Iterator[Finding]:
    if used < DEAD_SHARE:
        yield problem("codebooks", name, f"dead: {used:.1%} {where}")
    elif used < SPARSE_SHARE:
        yield note("codebooks", name, f"{used:.1%} {where}")


def _by_weights(name: str, weight: Tensor) -> Iterator[Finding]:
    """Findings about a codebook's entries (size, dim)."""
    size = len(weight)
    empty = int((weight.norm(dim=1) == 0).sum())
    if empty:
        yield problem("codebooks", name, f"{empty} of {size} entries have length 0")
    doubles = num_duplicates(weight)
    if doubles / size >= DUPLICATE_SHARE:
        text = f"collapsed: {doubles} of {size} entries have the direction of an earlier one and can never be chosen"
        yield problem("codebooks", name, text)
    elif doubles / size >= NOTED_SHARE:
        yield note("codebooks", name, f"{doubles} of {size} entries have the direction of an earlier one")


def num_duplicates(weight: Tensor) -> int:
    """Entries of a codebook (size, dim) whose direction an earlier entry has already."""
    directions, doubles = F.normalize(weight, dim=1), 0
    # In blocks, since all pairs of a large codebook do not fit into memory.
    for start in range(0, len(directions), _ROWS_AT_ONCE):
        rows = directions[start : start + _ROWS_AT_ONCE]
        cosine = rows @ directions[: start + len(rows)].T
        # Below the diagonal alone: an entry is compared with earlier ones, not with itself.
        doubles += int((cosine.tril(diagonal=start - 1) > SAME_COSINE).any(dim=1).sum())
    return doubles
