"""What a recogniser understands of an output, against the text that stands with a recording."""

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snac_exp.errors import ConfigError, DataError
from snac_exp.evaluation.utterances import Utterance
from snac_exp.metrics.table import METRICS
from snac_exp.system.torchaudio import functional as F_audio

TEXT_COLUMN = "text"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def recogniser_digest(folder: Path) -> str:
    """SHA-256 of a recogniser's configuration and weights: rates of two recognisers are not compared.

    Raises:
        ConfigError: the folder holds no model, or transformers is not installed.
    """
    files = [folder / "config.json", *sorted(path for kind in _WEIGHTS for path in folder.glob(kind))]
    if len(files) < 2 or not files[0].is_file():
        raise ConfigError(
            f"asr={folder} is no folder of a recogniser: config.json, *.safetensors and the files of its processor, as "
            "save_pretrained of transformers writes them"
        )
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError("asr= needs the package transformers: pip install 'snac_exp[asr]'")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def require_texts(utterances: Sequence[Utterance]) -> None:
    """ConfigError unless a text stands with one utterance at least."""
    if all(text_of(it) is None for it in utterances):
        raise ConfigError(
            f"asr= is given, but no utterance has a {TEXT_COLUMN}: prepare a list, tar shards or a data set that has "
            "them, or leave asr out"
        )


def text_of(utterance: Utterance) -> str | None:
    """What is said in it; None where nobody wrote it down, or where the recording is cut."""
    text = utterance.row.columns.get(TEXT_COLUMN)
    # Of a recording that is cut the text says more than can be heard.
    return str(text) if text and utterance.num_samples == utterance.row.num_samples else None


@dataclass(frozen=True)
class Recogniser:
    """A model of transformers for speech recognition, on the CPU, from a local folder alone."""

    pipeline: Any

    @classmethod
    def load(cls, folder: Path) -> "Recogniser":
        """Open a folder.

        Raises:
            DataError: transformers cannot make a recogniser of it.
        """
        from transformers import pipeline

        try:
            return cls(pipeline("automatic-speech-recognition", model=str(folder), device="cpu"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"asr={folder} cannot be opened as a recogniser: {error}") from error

    def scores(self, waveform: Tensor, rate: int, text: str | None) -> dict[str, float | None]:
        """Error rates of a waveform (N,) at `rate` Hz; None without a text."""
        metrics = [(metric.name, metric.text_function) for metric in METRICS if metric.text_function is not None]
        if text is None:
            return {name: None for name, _ in metrics}
        wanted = int(self.pipeline.feature_extractor.sampling_rate)
        heard = F_audio.resample(waveform, rate, wanted, lowpass_filter_width=64)
        with torch.no_grad():
            recognised = self.pipeline({"raw": heard.numpy(), "sampling_rate": wanted})["text"]
        return {name: function(text, recognised) for name, function in metrics}
