"""Everything about time, derived from a checkpoint's config; pure arithmetic, no torch.

A coarse token is one token of codebook 0. All starts and lengths are counted in coarse tokens, so codes and audio of a
slice line up by construction: every other position follows from the start by multiplication with whole numbers.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from snac_exp.errors import CodecError
from snac_exp.system.checksums.listed_files import verify_listed
from snac_exp.system.files import read_json
from snac_exp.system.paths.kind import refuse_file

if TYPE_CHECKING:  # a config error is answered before numpy could be imported
    import numpy as np
    import numpy.typing as npt

CONFIG_FILE = "config.json"
Lengths = TypeVar("Lengths", int, "npt.NDArray[np.int64]")

_KERNEL_REACH = 3  # frames to either side that a convolution with 7 taps sees
_RESIDUAL_REACH = _KERNEL_REACH * (1 + 3 + 9)  # three residual units, dilations 1, 3, 9


class DeclaredGeometry(Protocol):
    """What a recipe declares about its checkpoint (`codec.geometry` in the config)."""

    @property
    def sampling_rate(self) -> int: ...
    @property
    def hop_length(self) -> int: ...
    @property
    def vq_strides(self) -> list[int]: ...
    @property
    def attn_window_size(self) -> int | None: ...


@dataclass(frozen=True)
class Geometry:
    """How codes and audio of one SNAC checkpoint relate in time.

    Args:
        sampling_rate: rate of the codec's own audio, in Hz.
        hop_length: samples per finest frame.
        vq_strides: finest frames per token of each codebook, coarsest first.
        attn_window_size: finest frames per local attention window, or None.

    Raises:
        CodecError: the numbers fit no SNAC codec.
    """

    sampling_rate: int
    hop_length: int
    vq_strides: tuple[int, ...]
    attn_window_size: int | None = None

    def __post_init__(self) -> None:
        # A list of JSON becomes a tuple, so that geometries compare and hash; frozen classes need this form.
        object.__setattr__(self, "vq_strides", tuple(self.vq_strides))
        numbers = (self.sampling_rate, self.hop_length, *self.vq_strides, self.attn_window_size or 1)
        if not self.vq_strides or any(type(number) is not int or number < 1 for number in numbers):
            raise CodecError(f"{self}: rates, hop, strides and window must be whole numbers of at least 1")
        if any(self.vq_strides[0] % stride for stride in self.vq_strides):
            raise CodecError(f"vq_strides={list(self.vq_strides)}: the first stride must be a multiple of all others")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Geometry":
        """Read it from the contents of upstream's config.json.

        Raises:
            CodecError: a key is missing, or encoder and decoder do not have the same hop.
        """
        for key in ("sampling_rate", "encoder_rates", "decoder_rates", "vq_strides", "attn_window_size"):
            if key not in config:
                raise CodecError(f"the codec's {CONFIG_FILE} lacks '{key}'")
        hop = math.prod(config["encoder_rates"])
        if hop != math.prod(config["decoder_rates"]):
            rates = f"encoder_rates={config['encoder_rates']} and decoder_rates={config['decoder_rates']}"
            raise CodecError(f"the codec's {CONFIG_FILE}: {rates} must have the same product")
        return cls(config["sampling_rate"], hop, tuple(config["vq_strides"]), config["attn_window_size"])

    @classmethod
    def from_declared(cls, declared: DeclaredGeometry) -> "Geometry":
        """The geometry that a recipe declares, for planning without a checkpoint."""
        return cls(declared.sampling_rate, declared.hop_length, tuple(declared.vq_strides), declared.attn_window_size)

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks."""
        return len(self.vq_strides)

    @property
    def coarse_hop(self) -> int:
        """Samples at the codec's rate per coarse token."""
        return self.hop_length * self.vq_strides[0]

    @property
    def coarse_step(self) -> int:
        """Starts and lengths are multiples of this many coarse tokens: 1, or whole attention windows."""
        return math.lcm(self.vq_strides[0], self.attn_window_size or 1) // self.vq_strides[0]

    def coarse_tokens_in(self, seconds: float) -> int:
        """Coarse tokens that fit in `seconds` (rounded to a sample first), as whole steps.

        Raises:
            CodecError: not even one step fits.
        """
        # Rounded to a sample before the division: 0.1 s * 24,000 Hz is not exactly 2,400 in floating point.
        step_samples = self.coarse_hop * self.coarse_step
        steps = round(seconds * self.sampling_rate) // step_samples
        if steps < 1:
            raise CodecError(
                f"a segment of {seconds} s is shorter than one step of this codec; "
                f"use at least {step_samples / self.sampling_rate:.4f} s"
            )
        return steps * self.coarse_step

    def coarse_tokens_of(self, num_samples: Lengths) -> Lengths:
        """Coarse tokens upstream's encoder makes of `num_samples` at the codec's rate: it pads to whole steps."""
        return -(-num_samples // (self.coarse_hop * self.coarse_step)) * self.coarse_step

    def codebook_length(self, codebook: int, num_coarse: int) -> int:
        """Tokens of one codebook in `num_coarse` coarse tokens."""
        return num_coarse * self.vq_strides[0] // self.vq_strides[codebook]

    def codebook_slice(self, codebook: int, start: int, num_coarse: int) -> slice:
        """Where the coarse tokens [start, start + num_coarse) lie in one codebook."""
        first = self.codebook_length(codebook, start)
        return slice(first, first + self.codebook_length(codebook, num_coarse))

    def audio_samples(self, num_coarse: int, rate: int) -> int:
        """Samples that `num_coarse` coarse tokens cover at an output rate in Hz.

        Raises:
            CodecError: they do not cover a whole number of samples.
        """
        samples, rest = divmod(num_coarse * self.coarse_hop * rate, self.sampling_rate)
        if rest:
            raise CodecError(
                f"{num_coarse} coarse tokens of {self.coarse_hop} samples at {self.sampling_rate} Hz are no whole "
                f"number of samples at {rate} Hz; use a multiple of {self.sampling_rate} Hz"
            )
        return samples

    def audio_slice(self, start: int, num_coarse: int, rate: int) -> slice:
        """Where the coarse tokens [start, start + num_coarse) lie in audio at `rate` Hz; errors as `audio_samples`."""
        first = self.audio_samples(start, rate)
        return slice(first, first + self.audio_samples(num_coarse, rate))


def geometry_of_directory(directory: Path) -> Geometry:
    """Geometry of a checkpoint directory in upstream's layout, without loading weights.

    Raises:
        CodecError: config.json is missing, unreadable or incomplete; names the file.
    """
    return Geometry.from_config(config_of_directory(directory))


def config_of_directory(directory: Path) -> dict[str, Any]:
    """Contents of a checkpoint directory's config.json; errors as `geometry_of_directory`."""
    refuse_file(Path(directory), f"a codec's folder, which holds {CONFIG_FILE} and weights", CodecError)
    path = Path(directory) / CONFIG_FILE
    try:
        config = read_json(path)
        verify_listed(path)
    except OSError as error:
        raise CodecError(f"cannot read {path}: {error.strerror}; a codec directory must hold this file") from None
    except ValueError as error:
        raise CodecError(f"{path} is damaged or no JSON: {error}; download or export it again") from None
    if not isinstance(config, dict):
        raise CodecError(f"{path} must hold a dictionary of SNAC's arguments, not a {type(config).__name__}")
    return config


def check_declared(geometry: Geometry, declared: DeclaredGeometry) -> None:
    """The recipe's declared geometry must be the loaded checkpoint's.

    Raises:
        CodecError: they differ; names both.
    """
    expected = Geometry.from_declared(declared)
    if expected != geometry:
        raise CodecError(
            f"the recipe declares codec.geometry={_plain(expected)} but the loaded checkpoint has {_plain(geometry)}; "
            "choose the codec group of this checkpoint or correct codec.geometry"
        )


def decoder_receptive_samples(config: Mapping[str, Any]) -> int:
    """Samples beyond its own edges that a frame of the latent changes in the decoded audio; 4,757 for snac_24khz.

    With local attention this depends on the frame's place in its window; the largest is given.
    """
    hop: int = math.prod(config["decoder_rates"])
    beyond = []
    for frame in range(config["attn_window_size"] or 1):
        low, high = _reach(config, frame)
        beyond += [frame * hop - low, high + 1 - (frame + 1) * hop]
    return max(beyond)


def decoder_context_tokens(config: Mapping[str, Any]) -> int:
    """Coarse tokens on either side of a slice that make it decode like the whole; whole steps; 3 for snac_24khz."""
    geometry = Geometry.from_config(config)
    context = 0
    while _any_reaches(config, context * geometry.vq_strides[0]):
        context += geometry.coarse_step
    return context


def _any_reaches(config: Mapping[str, Any], context_frames: int) -> bool:
    """Whether a frame outside of the context changes the slice; beyond a window of them none can."""
    beyond = range(context_frames, context_frames + (config["attn_window_size"] or 1))
    return any(_reach(config, -1 - frame)[1] >= 0 or _reach(config, frame)[0] < 0 for frame in beyond)


def _reach(config: Mapping[str, Any], frame: int) -> tuple[int, int]:
    """First and last output sample that a frame of the latent changes; layers as in snac.layers.Decoder."""
    low, high = frame - _KERNEL_REACH, frame + _KERNEL_REACH
    # Attention mixes all frames of a window, so one frame reaches to both ends of it.
    if window := config["attn_window_size"]:
        low, high = low // window * window, (high // window + 1) * window - 1
    for stride in config["decoder_rates"]:
        # A transposed convolution of kernel 2 s and padding s / 2 spreads a frame over 2 s samples.
        padding = -(-stride // 2)
        low, high = low * stride - padding, high * stride - padding + 2 * stride - 1
        low, high = low - _RESIDUAL_REACH, high + _RESIDUAL_REACH
    return low - _KERNEL_REACH, high + _KERNEL_REACH


def _plain(geometry: Geometry) -> dict[str, Any]:
    return asdict(geometry) | {"vq_strides": list(geometry.vq_strides)}
