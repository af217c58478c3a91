"""ONNX graphs of the encoder and of the decoder of each head, checked against PyTorch.

The decoder's noise is an input: standard normal samples as upstream draws them, zeros for none, or the sequences of
`snac_exp.release.streaming.positioned_noise` for the very samples that this package decodes. The time axis of a codec
with local attention has to be whole windows, as everywhere.
"""

import copy
import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from snac.attention import LocalMHA, apply_rotary_pos_emb
from snac.layers import NoiseBlock
from torch import Tensor, nn
from torch.nn import functional as F

from snac_exp.codec.geometry import Geometry
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.seeding import generator
from snac_exp.errors import CheckpointError, ConfigError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.outputs import labels_of
from snac_exp.release.streaming.positioned_noise import noise_sequence
from snac_exp.system.files import atomic_path, write_json

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference to PyTorch's samples; the runtimes order their sums differently."""
MIN_EQUAL_CODES = 0.99
"""Least fraction of equal codes: nearest entries that tie within rounding may change places."""

_CHECK_STEPS = (6, 9)  # the graphs are traced with one length and checked with others


class NoiseSupply:
    """Noise of the call under way by name of the block; an object, since the exporter restores dictionaries."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}


class SuppliedNoiseBlock(NoiseBlock):  # type: ignore[misc]
    """Upstream's noise block on noise that is handed in."""

    noise_name: str
    supply: NoiseSupply

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T) + noise (B, 1, T) * linear(x)."""
        result: Tensor = x + self.supply.tensors[self.noise_name] * self.linear(x)
        return result


class FlatLocalMHA(LocalMHA):  # type: ignore[misc]
    """Upstream's local attention with windows as rows of the batch: ONNX knows attention in four dimensions only."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T), T whole windows."""
        batch_size, channels, length = x.shape
        windows = x.transpose(1, 2).reshape(-1, self.window_size, channels)
        parts = self.to_qkv(self.norm(windows)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        if self.rel_pos is not None:
            q, k = apply_rotary_pos_emb(q, k, *self.rel_pos(k))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        result: Tensor = self.to_out(attended).reshape(batch_size, length, channels).transpose(1, 2) + x
        return result


class EncoderGraph(nn.Module):
    """audio (B, 1, N), N whole steps -> codes_0 … (B, T_i) int64."""

    def __init__(self, model: MultiRateSnac) -> None:
        super().__init__()
        self.encoder, self.quantizer = model.encoder, model.quantizer

    def forward(self, audio: Tensor) -> tuple[Tensor, ...]:
        """audio (B, 1, N) -> codes[i] (B, T_i)."""
        return tuple(self.quantizer(self.encoder(audio))[1])


class DecoderGraph(nn.Module):
    """codes_0 … (B, T_i) int64, then the noise of each block (B, 1, T_i * samples_per_token) -> audio (B, 1, N)."""

    def __init__(self, model: MultiRateSnac, head: str, noise_names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.head, self.noise_names = model, head, list(noise_names)
        self.supply = NoiseSupply()
        for child in model.modules():
            if isinstance(child, NoiseBlock):
                child.__class__, child.supply = SuppliedNoiseBlock, self.supply

    def forward(self, codes: tuple[Tensor, ...], noises: tuple[Tensor, ...]) -> Tensor:
        """codes[i] (B, T_i), noises (B, 1, T) -> audio (B, 1, N)."""
        self.supply.tensors = dict(zip(self.noise_names, noises, strict=True))
        latent: Tensor = self.model.quantizer.from_codes(list(codes))
        audio: Tensor = self.model(self.model.features(latent), [self.head])[self.head]
        return audio


def export_onnx(codec: ReleasedCodec, directory: Path) -> list[str]:
    """Write encoder.onnx, a decoder per head and onnx.json, which describes inputs and states the differences found.

    Decoders are called by their rates, as decoder_48k.onnx, or by their heads where two have one rate.

    Returns:
        One line per graph.

    Raises:
        ConfigError: the optional packages are not installed.
        CheckpointError: a graph does not compute what PyTorch computes.
    """
    _require_packages()
    directory.mkdir(parents=True, exist_ok=True)
    # float32 on the CPU whatever the codec computes in: the graph must not depend on where it was exported.
    model = copy.deepcopy(codec.model).cpu().float()
    for child in model.modules():
        if isinstance(child, LocalMHA):
            child.__class__ = FlatLocalMHA
    description: dict[str, Any] = {"opset": OPSET, "sampling_rate": codec.sampling_rate, "graphs": {}}
    description["samples_per_step"] = codec.geometry.coarse_hop * codec.geometry.coarse_step
    description["graphs"]["encoder.onnx"] = _export_encoder(model, codec.geometry, directory / "encoder.onnx")
    for head, label in labels_of(codec.heads).items():
        name = f"decoder_{label}.onnx"
        # A copy per head: the graph changes the classes of the noise blocks in place.
        description["graphs"][name] = _export_decoder(copy.deepcopy(model), codec, head, directory / name)
    write_json(directory / "onnx.json", description)
    return [f"{name}: {_verdict(graph)}" for name, graph in description["graphs"].items()]


def _export_encoder(model: MultiRateSnac, geometry: Geometry, path: Path) -> dict[str, Any]:
    graph = EncoderGraph(model).eval()
    names = [f"codes_{i}" for i in range(geometry.num_codebooks)]
    step = geometry.coarse_hop * geometry.coarse_step
    # A multiple of a symbol: the graph takes any number of whole steps, and nothing between them.
    shapes = ({0: _dim("batch"), 2: step * _dim("steps")},)
    _export(graph, (_test_audio(geometry, 4),), path, ["audio"], names, shapes)
    equal = []
    for num_steps in _CHECK_STEPS:
        audio = _test_audio(geometry, num_steps)
        with torch.no_grad():
            expected = graph(audio)
        found = _run(path, {"audio": audio.numpy()})
        equal += [np.mean(tokens == reference.numpy()) for tokens, reference in zip(found, expected, strict=True)]
    least = float(min(equal))
    if least < MIN_EQUAL_CODES:
        raise CheckpointError(f"{path.name} gives only {least:.1%} of PyTorch's codes; leave onnx out of formats")
    return {"inputs": {"audio": f"(B, 1, N) float32, N a multiple of {step}"}, "outputs": names, "equal_codes": least}


def _export_decoder(model: MultiRateSnac, codec: ReleasedCodec, head: str, path: Path) -> dict[str, Any]:
    geometry, rates = codec.geometry, _noise_rates(model, head)
    graph = DecoderGraph(model, head, list(rates)).eval()
    code_names = [f"codes_{i}" for i in range(geometry.num_codebooks)]
    noise_names = [f"noise_{i}" for i in range(len(rates))]
    batch, steps = _dim("batch"), _dim("steps")
    frames = geometry.coarse_step * geometry.vq_strides[0]
    lengths = [geometry.codebook_length(i, geometry.coarse_step) for i in range(geometry.num_codebooks)]
    shapes = (
        tuple({0: batch, 1: length * steps} for length in lengths),
        tuple({0: batch, 2: frames * rate * steps} for rate in rates.values()),
    )
    codes, noises = _test_codes(codec, rates, 4)
    _export(graph, (codes, noises), path, code_names + noise_names, ["audio"], shapes)
    difference = 0.0
    for num_steps in _CHECK_STEPS:
        codes, noises = _test_codes(codec, rates, num_steps)
        with torch.no_grad():
            expected = graph(codes, noises).numpy()
        feed = dict(zip(code_names + noise_names, (item.numpy() for item in (*codes, *noises)), strict=True))
        difference = max(difference, float(np.abs(_run(path, feed)[0] - expected).max()))
    # Written so that NaN, which compares false with everything, is refused as well.
    if not difference <= TOLERANCE:
        raise CheckpointError(f"{path.name} differs from PyTorch by {difference:.1e}; leave onnx out of formats")
    inputs = dict.fromkeys(code_names, "(B, T) int64")
    inputs |= dict.fromkeys(noise_names, "(B, 1, frames * samples_per_frame) float32, standard normal or zeros")
    blocks = zip(noise_names, rates.items(), strict=True)
    noise = {name: {"sequence": block, "samples_per_frame": rate} for name, (block, rate) in blocks}
    description = {"inputs": inputs, "noise": noise, "outputs": ["audio"], "sample_rate": model.rates[head]}
    return description | {"max_difference": difference}


def _export(
    graph: nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    shapes: tuple[Any, ...],
) -> None:
    with _quiet(), torch.inference_mode(False), torch.no_grad(), atomic_path(path) as temporary:
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
            optimize=False,
        )
        assert program is not None  # it is one whenever dynamo=True
        program.save(str(temporary), external_data=False)  # one file that can be moved by itself


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's advice to its own developers; errors still come."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _noise_rates(model: MultiRateSnac, head: str) -> dict[str, int]:
    """Name of every noise block on the way to a head, in the order of their names -> samples per frame."""
    blocks = [child for child in model.modules() if isinstance(child, NoiseBlock)]
    on_the_way = [
        block
        for block in blocks
        # The trunk's are on the way to every head.
        if not block.noise_name.startswith("heads.") or block.noise_name.startswith(f"heads.{head}.")
    ]
    return {str(block.noise_name): int(block.samples_per_frame) for block in on_the_way}


def _test_audio(geometry: Geometry, num_steps: int) -> Tensor:
    """(2, 1, N) float32, N = `num_steps` whole steps."""
    num_samples = num_steps * geometry.coarse_step * geometry.coarse_hop
    # An RMS of 0.1 (-20 dB), about the level of speech.
    return torch.from_numpy(generator(0, "onnx", num_steps).standard_normal((2, 1, num_samples), np.float32) * 0.1)


def _test_codes(
    codec: ReleasedCodec, rates: dict[str, int], num_steps: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """codes[i] (2, T_i) int64, and the noise of each block (2, 1, T) float32."""
    geometry, draw = codec.geometry, generator(1, "onnx", num_steps)
    num_coarse = num_steps * geometry.coarse_step
    codes = tuple(
        torch.from_numpy(draw.integers(size, size=(2, geometry.codebook_length(i, num_coarse)), dtype=np.int64))
        for i, size in enumerate(codec.codebook_sizes)
    )
    num_frames = num_coarse * geometry.vq_strides[0]
    rows = {name: noise_sequence(0, name, 0, num_frames * rate) for name, rate in rates.items()}
    return codes, tuple(torch.from_numpy(np.stack([row, row]))[:, None] for row in rows.values())


def _run(path: Path, feed: dict[str, Any]) -> list[Any]:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, feed)
    return found


def _dim(name: str) -> Any:
    return torch.export.Dim(name, min=1, max=2**20)


def _verdict(graph: dict[str, Any]) -> str:
    if "equal_codes" in graph:
        return f"{graph['equal_codes']:.2%} of the codes equal PyTorch's"
    return f"within {graph['max_difference']:.1e} of PyTorch's samples"


def _require_packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            text = f"formats=[onnx] needs {error.name}: pip install 'snac_exp[onnx]', or leave onnx out"
            raise ConfigError(text) from None
