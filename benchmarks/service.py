"""`snac-exp serve api=true` under load: streams at real-time pace on loopback, service and clients on the same cores.

python -m benchmarks.service [--seconds 60] [--streams 32] [--threads 1] [--results FILE]      about 4 minutes

32 streams of the demo codec for 60 s: drop-outs of a player with a buffer of 200 ms, and the time from the first tokens
to the first audio. Then as many streams as hold real time of a codec with the shape of snac_24khz and random weights.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from snac import SNAC

from benchmarks.harness import RESULTS, Figure, record
from benchmarks.release_models import SNAC_24KHZ
from benchmarks.service_client import GRACE_SECONDS, Heard
from snac_exp.codec.checkpoint import bundled_directory, save_snac

BUFFER_SECONDS = 0.2
LARGE_SECONDS = 10.0  # for each number of streams of the large codec
MOST_LARGE = 16


@contextmanager
def serving(checkpoint: Path, threads: int) -> Iterator[str]:
    """The command in a process of its own; gives the address of its WebSocket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [f"checkpoint={checkpoint}", "api=true", f"port={port}", f"threads={threads}", "layout=flat"]
    command = [sys.executable, "-W", "ignore", "-m", "snac_exp.cli", "serve", *words]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        with urllib.request.urlopen(process.stdout.readline().split()[0], timeout=60):
            yield f"ws://127.0.0.1:{port}/stream"
    finally:
        process.terminate()
        process.wait(60)


def load(address: str, streams: int, seconds: float, entries: int) -> list[Heard]:
    """How so many streams of so many seconds arrive."""
    options = {"streams": streams, "seconds": seconds, "entries": entries, "buffer-seconds": BUFFER_SECONDS}
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "benchmarks.service_client", address, *words]
    limit = seconds + 3 * GRACE_SECONDS
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=limit)
    return [Heard(**item) for item in json.loads(done.stdout)]


def demo_figures(threads: int, streams: int, seconds: float) -> dict[str, Figure]:
    """Of the demo codec."""
    with serving(bundled_directory("demo_codec"), threads) as address:
        load(address, 2, 2.0, 1024)
        found = load(address, streams, seconds, 1024)
    first = np.array([item.first_seconds for item in found]) * 1000
    late = [item.late_seconds * 1000 for item in found]
    details = {
        "streams": streams,
        "seconds": seconds,
        "service_threads": threads,
        "player_buffer_ms": BUFFER_SECONDS * 1000,
        "errors": [item.error for item in found if item.error],
    }
    title = f"{streams} streams of the demo codec in real time over the service, {seconds:g} s"
    dropouts = sum(item.dropouts for item in found)
    return {
        "service_dropouts": Figure(f"{title}: drop-outs", dropouts, "", "at_most", 0, details),
        "service_first_audio": Figure(
            f"{title}: first audio, median", _ms(np.median(first)), "ms", "at_most", 300, details
        ),
        "service_first_audio_p99": Figure(
            f"{title}: first audio, p99", _ms(np.percentile(first, 99)), "ms", "at_most", 800, details
        ),
        "service_buffer": Figure(f"{title}: buffer that a player needs", _ms(max(late)), "ms", details=details),
    }


def large_figures(threads: int, seconds: float) -> dict[str, Figure]:
    """Of a codec with the shape of snac_24khz."""
    torch.manual_seed(0)
    entries, holds = int(SNAC_24KHZ["codebook_size"]), 0  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder:
        save_snac(SNAC(**SNAC_24KHZ).eval(), Path(folder))
        with serving(Path(folder), threads) as address:
            load(address, 1, 2.0, entries)
            for streams in range(1, MOST_LARGE + 1):
                found = load(address, streams, seconds, entries)
                if any(item.dropouts or item.error for item in found):
                    break
                holds = streams
    title = "streams of snac_24khz's shape that hold real time over the service"
    details = {"seconds": seconds, "service_threads": threads, "most_tried": MOST_LARGE}
    return {"service_streams_24khz": Figure(title, holds, "", details=details)}


def _ms(value: float) -> float | None:
    return round(float(value), 1) if np.isfinite(value) else None


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of audio per stream of the demo codec")
    parser.add_argument("--streams", type=int, default=32, help="of the demo codec")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch in the service")
    parser.add_argument(
        "--large-seconds", type=float, default=LARGE_SECONDS, help="of audio for the large codec; 0 = none"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that keeps the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record(demo_figures(options.threads, options.streams, options.seconds), options.results)
    if options.large_seconds:
        record(large_figures(options.threads, options.large_seconds), options.results)


if __name__ == "__main__":
    main()
