"""Run the check, collect what it needs, or land what a GPU gave; see the package's docstring.

usage: python -m benchmarks.gpu_check [--call N]… [--device cuda|cpu] [--small] [--output FOLDER]
       python -m benchmarks.gpu_check land FOLDER
       python -m benchmarks.gpu_check wheels [PACKAGE…]
Exit status: 0 all is well, 1 a part is not, 2 it could not begin.
"""

import argparse
import gc
import importlib.util
import os
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from benchmarks.gpu_check.wheels import collect, lacking, unpack

UNABLE = 2


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    if arguments[:1] == ["wheels"]:
        print(collect(arguments[1:]))
        return 0
    if arguments[:1] == ["land"]:
        from benchmarks.gpu_check.figures import land

        print("\n".join(land(Path(*arguments[1:2]))))
        return 0
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        return _check(_options(arguments), Path(scratch))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu-check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--call", type=int, choices=(1, 2, 3), action="append", help="one of three; default: all")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="sizes for a CPU, to see that every line runs")
    output = os.environ.get("OUT") or f"outputs/gpu_check/{datetime.now():%Y-%m-%d_%H-%M-%S}"
    parser.add_argument("--output", type=Path, default=Path(output), help="records; default: $OUT, else below outputs/")
    return parser.parse_args(arguments)


def _check(options: argparse.Namespace, scratch: Path) -> int:
    calls = options.call or [1, 2, 3]
    if options.device == "cpu":
        if not options.small:
            return _unable("on a CPU it runs with --small alone")
        os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported
    if options.small:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other take longer than the work
    taken = [path for call in calls if (path := options.output / f"call{call}.json").exists()]
    if taken:
        return _unable(f"{taken[0]} is there already; give another folder: --output")
    _prepare(scratch / "site")
    missing = lacking()
    if missing:
        reasons = ", ".join(f"{module} ({why})" for module, why in missing.items())
        return _unable(
            f"not importable here: {reasons}; make gpu-wheels, where there is a network, brings the small ones"
        )
    return _run(options, calls, scratch)


def _prepare(site: Path) -> None:
    """What has to be so before torch is imported."""
    unpack(site)
    # Compilers and readers of data are Pythons of their own.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    if importlib.util.find_spec("torch") is not None:
        from snac_exp.runs.allocator import prefer_growing_segments

        prefer_growing_segments()


def _run(options: argparse.Namespace, calls: Sequence[int], scratch: Path) -> int:
    _import_all()
    import torch

    from benchmarks.gpu_check.calls import run_call
    from benchmarks.gpu_check.isolation import forked
    from benchmarks.gpu_check.setting import Setting

    # Asked in another process: after this question CUDA cannot be used in processes that are forked.
    if options.device == "cuda" and forked(lambda: 0 if torch.cuda.is_available() else 1):
        return _unable("there is no GPU here; --device cpu --small runs every line of it in small on a CPU")
    options.output.mkdir(parents=True, exist_ok=True)
    well = True
    for call in calls:
        folder = scratch / f"call{call}"
        folder.mkdir()
        well &= run_call(Setting(torch.device(options.device), options.small, options.output, folder, call))
    print(f"records: {options.output}")
    return 0 if well else 1


def _import_all() -> None:
    """Once for all parts, which are forked; also what is else imported late, or made before the first loop of a CPU."""
    import numpy as np

    import snac_exp
    from snac_exp.codec.fast.kernels import snake_rows

    for module in pkgutil.walk_packages(snac_exp.__path__, "snac_exp."):
        importlib.import_module(module.name)
    importlib.import_module("torch._dynamo")
    snake_rows(np.zeros((1, 8), np.float32), np.ones(1, np.float32), np.zeros((1, 8), np.float32))
    gc.collect()
    gc.freeze()


def _unable(why: str) -> int:
    print(f"gpu-check: {why}", file=sys.stderr)
    return UNABLE


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # parts are ended on the way out
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        gc.unfreeze()  # or libraries complain of what is left
