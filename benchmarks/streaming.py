"""Decoding codes as they arrive: what a token costs, against whole decoding and other ways to stream; many at once.

    python -m benchmarks.streaming [--pairs 5]      under two minutes; then python -m benchmarks.table

snac_24khz's shape with outputs at 24 and 48 kHz, random weights; a coarse token, 85 ms of audio, is pushed at a time.
Plain ways decode with upstream's layers and folded weights: the whole at once; each push with the frames around it that
its samples depend on; and published windows, four coarse tokens decoded for the one in their middle.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness import Figure, Pairs, Work, compare, options, ratio, record
from benchmarks.release_models import SNAC_24KHZ, open_or_random
from snac_exp.release.blueprint import Blueprint
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.streaming.batch import BatchStream, StreamBatch

NUM_COARSE = 12  # tokens of a measurement: 1 s
MANY = 16
REACH = 10  # frames before and after a frame that its samples depend on
WINDOW, KEPT = 4, 1  # coarse tokens of a published window, and which of them is kept
TITLES = {24_000: "24 kHz", 48_000: "48 kHz"}


def main() -> None:
    """Measure and record."""
    settings = options(__doc__)
    codec = ReleasedCodec(open_or_random(None), Blueprint("snac_24khz", SNAC_24KHZ, {}))
    figures: dict[str, Figure] = {}
    for rate in codec.sample_rates:
        figures |= of_one(codec, rate, settings.pairs)
        figures |= of_many(codec, rate, settings.pairs)
    record(figures, settings.results)


def of_one(codec: ReleasedCodec, rate: int, pairs: int) -> dict[str, Figure]:
    """A stream alone."""
    whole = compare(partial(whole_decoding, codec, rate), streaming(codec, rate), pairs)
    offline = compare(partial(codec.decode, tokens_of(codec), rate, seed=0), streaming(codec, rate), pairs)
    overlap = compare(partial(overlapping, codec, rate), streaming(codec, rate), pairs)
    windows = compare(partial(published_windows, codec, rate), streaming(codec, rate), max(pairs // 2, 1), warmup=1)
    decoded = compare(
        partial(whole_decoding, codec, rate), partial(codec.decode, tokens_of(codec), rate, seed=0), pairs
    )
    name, title = f"stream_{rate // 1000}k", f"of a stream at {TITLES[rate]}"
    seconds = NUM_COARSE * codec.geometry.coarse_hop / codec.sampling_rate
    alone = statistics.median(whole.ours) / seconds
    return {
        f"{name}_work": inverse(f"work per coarse token {title}, against whole decoding", whole, 1.15),
        f"{name}_offline": inverse(f"work per coarse token {title}, against our own decoding of the whole", offline),
        f"{name}_overlap": ratio(f"work {title}, against decoding what it depends on anew", overlap, 3.0),
        f"{name}_windows": ratio(f"work {title}, against windows of which a quarter is kept", windows),
        f"{name}_rtf": Figure(f"real-time factor {title}, alone", round(alone, 4), ""),
        **first_audio(codec, rate),
        f"decode_{rate // 1000}k": ratio(f"decoding the whole at {TITLES[rate]}, against upstream's layers", decoded),
    }


def of_many(codec: ReleasedCodec, rate: int, pairs: int) -> dict[str, Figure]:
    """Many streams in a batch against as many one by one, and what a second core adds."""
    name, title = f"stream_{rate // 1000}k", f"{MANY} streams at {TITLES[rate]}"
    pushes = NUM_COARSE // 4
    batch, streams = opened(codec, rate, MANY)
    together = partial(push_all, codec, batch, streams, pushes)
    halves = [partial(push_all, codec, *opened(codec, rate, MANY // 2), pushes) for _ in range(2)]
    apart = [streaming(codec, rate, pushes) for _ in range(MANY)]
    found = compare(lambda: [work() for work in apart], together, max(pairs // 2, 1), warmup=1)
    seconds = MANY * pushes * codec.geometry.coarse_hop / codec.sampling_rate
    with ThreadPoolExecutor(2) as pool:
        cores = compare(together, lambda: list(pool.map(_call, halves)), pairs, clock="wall")
    return {
        f"{name}_batch": ratio(f"{title} in a batch, against one by one", found),
        f"{name}_batch_speed": speed(f"{title} in a batch, one thread", seconds, found.ours),
        f"{name}_two_cores": speed(f"{title} in two batches, a thread each", seconds, cores.ours),
        f"{name}_second_core": ratio("the same, against one batch in one thread, by the clock", cores),
        f"{name}_memory": Figure(
            f"memory of a stream at {TITLES[rate]}", round(batch.bytes_of(streams[0]) / 1024, 1), "KiB"
        ),
    }


def first_audio(codec: ReleasedCodec, rate: int) -> dict[str, Figure]:
    """How much of the audio and of work lies before a stream's first samples."""
    name, title = f"stream_{rate // 1000}k", f"of a stream at {TITLES[rate]}"
    coarse, work = [], []
    for seed in range(7):
        batch, pushed, started = StreamBatch(codec), 0, time.process_time()
        stream = batch.open(rate, seed=seed)
        while not len(batch.push({stream: part_of(codec, pushed)})[stream]):
            pushed += 1
        work.append(time.process_time() - started)
        coarse.append(pushed + 1)
    token = codec.geometry.coarse_hop / codec.sampling_rate * 1e3
    return {
        f"{name}_delay": Figure(f"delay {title}, ms of audio", round(stream.delay_seconds * 1e3, 1), "ms"),
        f"{name}_first_audio": Figure(
            f"first samples {title}, ms of audio in whole coarse tokens", round(statistics.median(coarse) * token), "ms"
        ),
        f"{name}_first_work": Figure(
            f"first samples {title}, ms of work", round(statistics.median(work[2:]) * 1e3, 1), "ms"
        ),
    }


def inverse(title: str, found: Pairs, floor: float | None = None) -> Figure:
    """Ours over plain: how much work it is."""
    bound = "stated" if floor is None else "at_most"
    return Figure(title, round(1 / found.ratio, 4), "x", bound, floor, found.details())


def speed(title: str, seconds: float, times: list[float]) -> Figure:
    """Audio-seconds per second of `seconds` of audio that took `times`."""
    return Figure(title, round(seconds / statistics.median(times), 2), "audio-seconds per second")


def _call(work: Work) -> None:
    work()


def opened(codec: ReleasedCodec, rate: int, num: int) -> tuple[StreamBatch, list[BatchStream]]:
    """A batch with so many streams."""
    batch = StreamBatch(codec)
    return batch, [batch.open(rate, seed=seed) for seed in range(num)]


def streaming(codec: ReleasedCodec, rate: int, pushes: int = NUM_COARSE) -> Callable[[], None]:
    """Pushes of a coarse token each to a stream under way."""
    batch = StreamBatch(codec)
    return partial(push_all, codec, batch, [batch.open(rate, seed=0)], pushes)


def push_all(codec: ReleasedCodec, batch: StreamBatch, streams: list[BatchStream], pushes: int) -> None:
    """So many coarse tokens to each of the streams, one after the other."""
    for number in range(pushes):
        part = part_of(codec, number % NUM_COARSE)
        batch.push(dict.fromkeys(streams, part))


def tokens_of(codec: ReleasedCodec, num_coarse: int = NUM_COARSE) -> list[Tensor]:
    """Tokens[i] (1, T_i), the same at every call."""
    draw = torch.Generator().manual_seed(0)
    lengths = [codec.geometry.codebook_length(i, num_coarse) for i in range(codec.geometry.num_codebooks)]
    sizes = zip(codec.codebook_sizes, lengths, strict=True)
    return [torch.randint(size, (1, length), generator=draw) for size, length in sizes]


def part_of(codec: ReleasedCodec, start: int, num_coarse: int = 1) -> list[Tensor]:
    """Coarse tokens from `start` on, tokens[i] (1, n_i)."""
    return [row[:, codec.geometry.codebook_slice(i, start, num_coarse)] for i, row in enumerate(tokens_of(codec))]


@torch.no_grad()
def by_modules(codec: ReleasedCodec, rate: int, latent: Tensor, start_frame: int) -> Tensor:
    """Latent (1, C, frames) from frame `start_frame` on through upstream's layers -> (1, 1, N)."""
    (head,) = (name for name, other in codec.heads.items() if other == rate)
    codec.layers.position.seeds, codec.layers.position.start_frame = (0,), start_frame
    samples: Tensor = codec.model(codec.model.features(latent), [head])[head]
    return samples


def whole_decoding(codec: ReleasedCodec, rate: int) -> None:
    """All at once."""
    by_modules(codec, rate, codec.latent(tokens_of(codec)), 0)


def overlapping(codec: ReleasedCodec, rate: int) -> None:
    """Every push with the frames that its samples depend on, in a stream under way."""
    step = codec.geometry.vq_strides[0]
    latent = codec.latent(tokens_of(codec, NUM_COARSE + 2 * REACH))
    hop = codec.geometry.hop_length * rate // codec.sampling_rate
    for number in range(NUM_COARSE):
        # The frames that become certain with these lie REACH frames back, and see as far back again.
        begin = number * step
        window = latent[..., begin : begin + 2 * REACH + step]
        by_modules(codec, rate, window, begin)[..., REACH * hop : (REACH + step) * hop].clone()


def published_windows(codec: ReleasedCodec, rate: int) -> None:
    """Every coarse token within a window of its own."""
    hop = codec.geometry.coarse_hop * rate // codec.sampling_rate
    tokens = tokens_of(codec, NUM_COARSE + WINDOW)
    for number in range(NUM_COARSE):
        window = [row[:, codec.geometry.codebook_slice(i, number, WINDOW)] for i, row in enumerate(tokens)]
        by_modules(codec, rate, codec.latent(window), 0)[..., KEPT * hop : (KEPT + 1) * hop].clone()


if __name__ == "__main__":
    main()
