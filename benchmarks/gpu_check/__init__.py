"""The hour in which a GPU is at hand: is the package right there, how fast is it, are its kernels well cut.

    make gpu-wheels                            before, where there is a network: what machines with PyTorch mostly lack
    make gpu-check                             all three calls, each under nine minutes
    make gpu-check args="--call 2"             one of them; calls do not need each other
    make gpu-check args="--device cpu --small" every line of it on a CPU, in small; Triton's kernels in its interpreter
    python -m benchmarks.gpu_check land FOLDER figures of a GPU into benchmarks/results.json

Every part is a process of its own with a limit of time: one that fails, hangs or runs out of memory stops none of the
others. A line per part; its record is in callN.json as soon as it is known, what it printed in callN.log.

Run with, on a CPU (--device cpu --small); nothing of it has run on a GPU yet:

| Python | torch        | triton | NumPy | packages                                                           |
|--------|--------------|--------|-------|--------------------------------------------------------------------|
| 3.11   | 2.13.0+cpu   | 3.9.0  | 2.4.6 | constraints.txt                                                    |
| 3.12   | 2.11.0+cu130 | 3.6.0  | 2.3.5 | the large ones installed, all others by `make gpu-wheels`          |
| 3.12   | 2.11.0+cu130 | 3.6.0  | 2.4.6 | the same; parts `exact` and `sweep_gradients` fail: the interpreter |

The interpreter of Triton 3.6 calls what NumPy 2.4 has taken out; on a GPU nothing is interpreted.
"""
