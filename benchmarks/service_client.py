"""Clients of the service at real-time pace, and how their audio arrives. Prints JSON.

python -m benchmarks.service_client ADDRESS --streams 32 --seconds 60      (benchmarks/service.py starts it)

Each client sends a coarse frame when it is due, as a model that speaks in real time, and notes when audio comes. None
waits for longer than the run takes by more than GRACE_SECONDS.
"""

import argparse
import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from websockets.asyncio.client import ClientConnection, connect

GRACE_SECONDS = 30.0
STAGGER_SECONDS = 2.0  # within which the clients begin, at times of their own


@dataclass(frozen=True)
class Pace:
    """What a client sends, and when. strides: tokens of each codebook per frame. frames: in all, `seconds` each."""

    strides: tuple[int, ...]
    entries: int
    frames: int
    seconds: float


@dataclass(frozen=True)
class Heard:
    """How one stream arrived.

    first_seconds: from the first tokens to the first audio. late_seconds: how much later than the first audio's pace
    the latest piece came, the buffer that a player needs. dropouts: pieces that came too late for a player's buffer.
    audio_seconds: in all. error: why it ended early.
    """

    first_seconds: float
    late_seconds: float
    dropouts: int
    audio_seconds: float
    error: str | None = None


def heard(
    sent: float, pieces: Sequence[tuple[float, int]], sample_rate: int, buffer_seconds: float, error: str | None = None
) -> Heard:
    """Of pieces (time of arrival in s, samples) of a stream whose first tokens were sent at `sent`.

    A player begins `buffer_seconds` after the first piece; one that is late stops it, and it goes on with that piece.
    """
    if not pieces:
        return Heard(float("inf"), float("inf"), 1, 0.0, error or "no audio")
    first = pieces[0][0]
    played, late, dropouts, start = 0, 0.0, 0, first + buffer_seconds
    for arrived, samples in pieces:
        late = max(late, arrived - first - played / sample_rate)
        due = start + played / sample_rate
        if arrived > due:
            dropouts += 1
            start += arrived - due
        played += samples
    return Heard(first - sent, late, dropouts, played / sample_rate, error)


async def one(address: str, pace: Pace, number: int, buffer_seconds: float) -> Heard:
    """One client."""
    rng, loop = random.Random(number), asyncio.get_running_loop()
    await asyncio.sleep(rng.uniform(0, STAGGER_SECONDS))
    pieces: list[tuple[float, int]] = []
    sent, rate, error = loop.time(), 1, None
    limit = pace.frames * pace.seconds + GRACE_SECONDS
    try:
        async with asyncio.timeout(limit), connect(address, proxy=None, compression=None) as service:
            await service.send(json.dumps({"seed": number}))
            rate = json.loads(await service.recv())["sample_rate"]
            sent = loop.time()
            sending = asyncio.ensure_future(_send(service, pace, rng))
            async for message in service:
                if isinstance(message, str):
                    error = json.loads(message).get("error")
                else:
                    pieces.append((loop.time(), len(message) // 2))
            await sending
    except (OSError, TimeoutError) as failure:
        error = f"{type(failure).__name__}: {failure}" if str(failure) else f"no end within {limit:.0f} s"
    return heard(sent, pieces, rate, buffer_seconds, error)


async def _send(service: ClientConnection, pace: Pace, rng: random.Random) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for frame in range(pace.frames):
        await asyncio.sleep(max(0.0, begin + frame * pace.seconds - loop.time()))
        codes = [[rng.randrange(pace.entries) for _ in range(num)] for num in pace.strides]
        await service.send(json.dumps({"codes": codes, "end": frame == pace.frames - 1}))


async def all_of_them(address: str, pace: Pace, streams: int, buffer_seconds: float) -> list[Heard]:
    """All clients at once."""
    return await asyncio.gather(*(one(address, pace, number, buffer_seconds) for number in range(streams)))


def main() -> None:
    """Print how every stream arrived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="of audio per stream")
    parser.add_argument("--strides", default="1,2,4", help="tokens of each codebook per coarse frame")
    parser.add_argument("--entries", type=int, default=1024)
    parser.add_argument("--frame-seconds", type=float, default=2048 / 24000)
    parser.add_argument("--buffer-seconds", type=float, default=0.2, help="of the player")
    options = parser.parse_args()
    strides = tuple(map(int, options.strides.split(",")))
    pace = Pace(strides, options.entries, int(options.seconds / options.frame_seconds), options.frame_seconds)
    found = asyncio.run(all_of_them(options.address, pace, options.streams, options.buffer_seconds))
    print(json.dumps([asdict(item) for item in found]))


if __name__ == "__main__":
    main()
