"""What decides which rows of a source are used and where they go."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from snac_exp.data.files.levels import Limits
from snac_exp.errors import ConfigError


@dataclass(frozen=True)
class PrepareSettings:
    """What decides which files are used and where they go.

    split: "speaker" keeps whole speakers together, as the source names them, or a speaker being the folder that holds
    the files (`speaker_level` null) or the first `speaker_level` folders below the input; set it to 1 where speakers
    have folders of chapters. "file" draws single rows, "given" takes the source's own splits. train_ratio counts
    seconds. validation_speakers: shell patterns of the speakers that validate, instead of a draw. min_seconds: a file
    must have. silence_db: a file whose mono peak lies below it (dB of full scale) is silent. max_peak, min_mix: see
    `Limits`.
    """

    split: Literal["speaker", "file", "given"] = "speaker"
    speaker_level: int | None = None
    train_ratio: float = 0.95
    seed: int = 0
    min_seconds: float = 0.25
    silence_db: float = -80.0
    validation_speakers: tuple[str, ...] | None = None
    max_peak: float = 16.0
    min_mix: float = 0.2

    @property
    def limits(self) -> Limits:
        """Of levels; ConfigError for limits that nothing could keep."""
        return Limits(self.max_peak, self.min_mix)

    def check(self) -> None:
        """ConfigError for a setting that is not possible, before anything is read."""
        Limits(self.max_peak, self.min_mix)  # refuses impossible ones before anything is read
        if self.split not in ("speaker", "file", "given"):
            raise ConfigError(f"split={self.split} is neither speaker nor file nor given")
        if self.split == "given" and self.validation_speakers is not None:
            raise ConfigError("split=given and validation_speakers both say what validates; leave one out")
        if self.speaker_level is not None and self.speaker_level < 1:
            raise ConfigError(
                f"speaker_level={self.speaker_level} must be at least 1, or null for the innermost folder"
            )

    def to_json(self) -> dict[str, Any]:
        """As a stored manifest has them."""
        # Tuples become lists there; otherwise equal settings would seem to have changed.
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return value
