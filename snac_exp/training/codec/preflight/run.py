"""Promises are checked, not trusted: what is proved on the real data before the first step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.start import start_promise
from snac_exp.config.seeding import generator
from snac_exp.data.files.reading import read_mono
from snac_exp.data.slices.batch import collate
from snac_exp.data.slices.cached_codes import AlignedDataset, SliceDataset, Splits
from snac_exp.data.slices.sampling import SliceSpec, place
from snac_exp.errors import PreflightError
from snac_exp.system.environment import provenance
from snac_exp.training.codec.alignment import Lag, check_lag, lag
from snac_exp.training.codec.decoder_task import DecoderTask

WINDOW_SECONDS = 2.0
NUM_REENCODED_ROWS = 4
TAIL_TOKENS = 3  # coarse tokens at the end that another device or batching may change
MIN_AGREEMENT = 0.99


def preflight(
    task: DecoderTask,
    codec: LoadedCodec,
    splits: Splits,
    init: str | None,
    num_rows: int,
    seed: int,
    note: Callable[[str], None],
) -> list[str]:
    """Prove the recipe's promises; one line per promise, also given to `note` as soon as it holds.

    init: how the heads promise to start; None where they start from weights of another run. num_rows: on which codes
    and audio must line up; 0 for a codec of random weights, of which nothing can be heard yet.

    Raises:
        PreflightError: the first promise that does not hold. The run must not start.
    """
    lines: list[str] = []

    def holds(line: str) -> None:
        lines.append(line)
        note(f"preflight: {line}")

    for line in [] if init is None else start_promise(task.model, codec, init, seed):
        holds(line)
    if num_rows == 0:
        holds("alignment is not checked: an untrained codec decodes nothing that could be compared")
        return lines
    for line in check_alignment(task, codec, splits.train, splits.context_tokens, num_rows, seed):
        holds(line)
    if isinstance(splits.train, SliceDataset):
        holds(check_reencoding(codec, splits.train, seed))
    return lines


def check_alignment(
    task: DecoderTask, codec: LoadedCodec, dataset: AlignedDataset, context_tokens: int, num_rows: int, seed: int
) -> list[str]:
    """Lag of decoded codes against every head's target, at the start and at the end of utterances apart.

    The windows go through the very path of training (slice specs, dataset, batch), so a wrong geometry shows here, as
    drift: right at the start of utterances, wrong at their end.
    """
    rows = _sample_rows(dataset, num_rows, seed)
    lines = []
    for where in ("start", "end"):
        specs = [_window(dataset, row, context_tokens, at_end=where == "end") for row in rows]
        for head, rate in task.model.rates.items():
            measured = _lag_of(codec, dataset, specs, head, rate)
            lines.append(check_lag(measured, f"{head} at the {where} of {len(rows)} utterances"))
    return lines


def check_reencoding(codec: LoadedCodec, dataset: SliceDataset, seed: int) -> str:
    """Whole utterances re-encode to their cached tokens: exactly in the cache's own environment, else 99 %."""
    rows = _sample_rows(dataset, NUM_REENCODED_ROWS, seed)
    exact = dataset.table.origins == {provenance("cpu")}
    equal = total = 0
    for row in rows:
        cached = [tokens[0] for tokens in dataset.whole(row)[0]]
        audio = torch.from_numpy(
            read_mono(dataset.source_file(row), codec.geometry.sampling_rate, 0, int(dataset.num_samples[row]))
        )
        with torch.no_grad():
            codes = codec.model.encode(audio[None, None])
        equal_row, total_row = _agreement(codes, cached, codec, tail=0 if exact else TAIL_TOKENS)
        equal, total = equal + equal_row, total + total_row
    share = equal / max(total, 1)
    if share < (1.0 if exact else MIN_AGREEMENT):
        raise PreflightError(
            f"only {share:.2%} of the cached tokens of {len(rows)} rows come back when their audio is encoded again "
            f"({'all' if exact else f'{MIN_AGREEMENT:.0%}'} expected); the audio or the codec changed since: "
            "cache the codes again"
        )
    return f"{len(rows)} rows re-encode to their cached tokens: {share:.2%} of {total}"


def _agreement(codes: Sequence[Tensor], cached: Sequence[Tensor], codec: LoadedCodec, tail: int) -> tuple[int, int]:
    geometry = codec.geometry
    keep = cached[0].shape[-1] - tail
    equal = total = 0
    for index, (now, then) in enumerate(zip(codes, cached, strict=True)):
        if now.shape[-1] != then.shape[-1]:
            raise PreflightError(
                f"a row has {then.shape[-1]} cached tokens in codebook {index} but encodes to {now.shape[-1]}; "
                "cache the codes again"
            )
        part = geometry.codebook_slice(index, 0, max(keep, 0))
        equal += int((now[0, part] == then[part]).sum())
        total += then[part].numel()
    return equal, total


def _sample_rows(dataset: AlignedDataset, count: int, seed: int) -> list[int]:
    """Rows drawn without replacement, preferring those that hold a whole window."""
    order = generator(seed, "preflight").permutation(len(dataset))
    needed = dataset.geometry.coarse_tokens_in(WINDOW_SECONDS)
    long_first = sorted(order.tolist(), key=lambda row: min(int(dataset.coarse_lengths[row]), needed), reverse=True)
    return long_first[:count]


def _window(dataset: AlignedDataset, row: int, context_tokens: int, *, at_end: bool) -> SliceSpec:
    length = int(dataset.coarse_lengths[row])
    tokens = dataset.geometry.coarse_tokens_in(WINDOW_SECONDS)
    start = max(0, length - tokens) if at_end else 0
    return place(row, start, length, tokens, context_tokens, dataset.geometry)


@torch.no_grad()
def _lag_of(codec: LoadedCodec, dataset: AlignedDataset, specs: Sequence[SliceSpec], head: str, rate: int) -> Lag:
    batch = collate(dataset.__getitems__(specs))
    torch.manual_seed(0)
    codes = batch.codes if batch.source is None else codec.model.encode(batch.source)
    decoded = codec.model.decode(codes)[:, 0]
    hop = codec.geometry.coarse_hop
    length = specs[0].num_tokens * hop
    starts = (batch.slice_offset * hop).tolist()
    scored = torch.stack([row[start : start + length] for row, start in zip(decoded, starts, strict=True)])
    scored = scored * (torch.arange(length) < batch.valid_samples[:, None])
    return lag(scored, codec.geometry.sampling_rate, batch.audio[head][:, 0], rate)
