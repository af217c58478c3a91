import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from snac_exp.errors import DataError
from snac_exp.evaluation.baselines import interpolated
from snac_exp.evaluation.summary import summarize, summary_table, write_summary
from snac_exp.evaluation.tables import heading
from snac_exp.evaluation.utterances import spread, utterance_seed
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import metric_of
from snac_exp.report.run.evaluation import evaluation
from snac_exp.system.files import read_json

HOP = 1024
NUM_SAMPLES = 12 * HOP - 188
BOTH = {"head_24k": 24_000, "head_48k": 48_000}


def utterance(row: int) -> Tensor:
    """Noise up to 24 kHz in two levels, loud and soft, so that it moves as speech does."""
    generator = torch.Generator().manual_seed(row)
    gate = 1 - 0.7 * ((torch.arange(2 * 12 * HOP) // 3000) % 2)
    return 0.1 * gate * torch.randn(2 * 12 * HOP, generator=generator)


@dataclass
class Utterances:
    """Rows of noise; the codes carry the row number, so that a stand-in codec can look the audio up."""

    num_rows: int
    heads: dict[str, int]
    silent: frozenset[int] = frozenset()
    narrow: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return self.num_rows

    def path(self, row: int) -> str:
        return f"{row}.wav"

    def sha1(self, row: int) -> str:
        return f"sha1 of {row}"

    def whole(self, row: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        return [torch.full((1, 12), row)], self.whole_audio(row, self.heads)

    def whole_audio(self, row: int, heads: Iterable[str]) -> dict[str, Tensor]:
        wide = utterance(row)[: 2 * NUM_SAMPLES] * (row not in self.silent)
        wide = interpolated(wide[::2]) if row in self.narrow else wide
        audio = {"head_24k": wide[::2], "head_48k": wide}
        return {head: audio[head][None, None] for head in heads}


class Recordings(Utterances):
    """Of the training set the audio alone is wanted: raw audio would have to be encoded for its codes."""

    def whole(self, row: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        raise AssertionError("training audio was encoded")


@dataclass
class Splits:
    train: Utterances
    validation: Utterances


class Codec:
    """Gives back the reference times `gain`, plus noise of the seed."""

    def __init__(self, gain: float, heads: dict[str, int], noise: float = 0.0, num_tokens: int = 12) -> None:
        self.gain, self.heads, self.noise, self.num_tokens = gain, heads, noise, num_tokens
        self.sampling_rate = 24_000
        self.seeds: list[int] = []

    def decode_chunks(
        self, codes: list[Tensor], heads: Sequence[str], *, seed: int, noise: bool = True
    ) -> Iterator[dict[str, Tensor]]:
        self.seeds.append(seed)
        wide = utterance(int(codes[0][0, 0]))[: 2 * HOP * self.num_tokens] * self.gain
        wide = wide + self.noise * torch.randn(wide.shape, generator=torch.Generator().manual_seed(seed % 2**32))
        outputs = {"head_24k": wide[::2], "head_48k": wide}
        yield {head: outputs[head][None, None] for head in heads}


@dataclass
class Setup:
    heads: dict[str, int] = field(default_factory=lambda: dict(BOTH))
    silent: frozenset[int] = frozenset()
    narrow: frozenset[int] = frozenset()
    narrow_training: bool = False

    def run(self, codec: Codec, initial: Codec, **options: Any) -> dict[str, float]:
        train = Recordings(2, self.heads, narrow=frozenset({0, 1}) if self.narrow_training else frozenset())
        splits: Any = Splits(train, Utterances(3, self.heads, self.silent, self.narrow))
        return summarize(codec, initial, splits, **options)


@pytest.mark.slow
def test_every_candidate_is_measured_against_its_own_reference() -> None:
    summary = Setup().run(Codec(1.0, BOTH), Codec(0.5, BOTH))
    db = 20 * np.log10(2)
    assert summary["head_24k/l1"] == summary["head_48k/l1"] == summary["head_48k/lsd_high_db"] == 0
    assert summary["initial/head_48k/lsd_high_db"] == pytest.approx(db, abs=1e-3)
    assert summary["initial/head_24k/lsd_db"] == pytest.approx(db, abs=0.01)
    assert summary["initial/head_24k/mel_distance"] == pytest.approx(np.log10(2), abs=1e-3)
    assert summary["baseline/lsd_high_db"] > 40
    assert summary["baseline_noise/lsd_high_db"] < 0.2 * summary["baseline/lsd_high_db"]
    assert summary["head_48k/lsd_high_under_baseline"] == 1.0
    assert summary["count/utterances"] == 3
    assert summary["seconds/audio"] == pytest.approx(3 * NUM_SAMPLES / 24_000)
    assert "head_24k/lsd_high_db" not in summary


class Encoder(Codec):
    """Codes of its own, of the row that the source is of, with which alone it decodes."""

    def encode(self, audio: Tensor, sample_rate: int) -> list[Tensor]:
        assert sample_rate == self.sampling_rate
        return [torch.full((1, 12), float(audio[0])) + self.gain * 1000]

    def decode_chunks(self, codes: list[Tensor], *arguments: Any, **options: Any) -> Iterator[dict[str, Tensor]]:
        return super().decode_chunks([codes[0] - self.gain * 1000], *arguments, **options)


class Sources(Utterances):
    """Whose source begins with the row's number; codes of the data are of another codec."""

    geometry = SimpleNamespace(sampling_rate=24_000)

    def whole_source(self, row: int) -> Tensor:
        return torch.full((NUM_SAMPLES,), float(row))

    def whole(self, row: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        raise AssertionError("codes of the codec that the run began with")


def test_a_codec_whose_encoder_trained_decodes_its_own_codes() -> None:
    heads = {"head_24k": 24_000}
    splits: Any = Splits(Recordings(2, heads), Sources(3, heads))
    summary = summarize(Encoder(1.0, heads), Encoder(0.5, heads), splits, encode=True)
    assert summary["head_24k/l1"] == 0
    assert summary["initial/head_24k/mel_distance"] == pytest.approx(np.log10(2), abs=1e-3)


@pytest.mark.slow
def test_keys_the_acceptance_reads() -> None:
    summary = Setup().run(Codec(1.0, BOTH), Codec(0.5, BOTH), num_utterances=1)
    metrics = {"l1", "stft_magnitude", "stft_complex", "mel_distance", "lsd_db", "si_sdr_db", "pesq_wb", "stoi"}
    metrics |= {"level_db"}
    high = {"lsd_low_db", "lsd_high_db", "lsd_high_all_db", "level_high_db"}
    high |= {"lsd_high_db_low95", "lsd_high_db_high95"}
    under = {"lsd_high_under_baseline", "lsd_high_under_baseline_noise"}
    expected = {f"{name}/{metric}" for name in ("head_24k", "initial/head_24k") for metric in metrics}
    expected |= {
        f"{name}/{metric}" for name in ("initial/head_48k", "baseline", "baseline_noise") for metric in metrics | high
    }
    expected |= {f"head_48k/{metric}" for metric in metrics | high | under}
    assert set(summary) == expected | {
        "count/utterances", "count/native_high_band", "seconds/audio", "seconds/evaluation",
    }  # fmt: skip
    assert all(isinstance(value, float) for value in summary.values())


@pytest.mark.slow
def test_measures_that_are_asked_for_stand_beside_what_the_recordings_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(reference: Tensor, estimate: Tensor, rate: int) -> float:
        return float(estimate.abs().max())

    metric = Metric("peak", "peak", function=peak, group="peak", reference_free=True)
    monkeypatch.setattr(
        "snac_exp.evaluation.summary.present_metrics", lambda groups: (metric_of("l1"), *[metric] * ("peak" in groups))
    )
    summary = Setup().run(Codec(1.0, BOTH), Codec(0.5, BOTH), num_utterances=1, quality=["peak"])
    assert summary["head_24k/peak"] == summary["reference/peak"] == 2 * summary["initial/head_24k/peak"] > 0
    assert "reference/l1" not in summary
    found = evaluation(summary)
    assert found is not None
    recordings = [row for table in found.tables for row in table.rows if row.name == "recordings"]
    assert recordings
    assert not any(value.is_best for row in recordings for value in row.values if value is not None)
    assert not [key for key in Setup().run(Codec(1.0, BOTH), Codec(0.5, BOTH), num_utterances=1) if "reference" in key]


def test_a_part_is_spread_over_the_whole() -> None:
    assert spread(10, None) == list(range(10))
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 200) == [0, 1, 2]


@pytest.mark.slow
def test_values_repeat_and_follow_the_recording() -> None:
    first, second = (Setup().run(Codec(1.0, BOTH, noise=0.01), Codec(0.5, BOTH)) for _ in range(2))
    del first["seconds/evaluation"], second["seconds/evaluation"]
    assert first == second
    codec = Codec(1.0, BOTH)
    Setup().run(codec, Codec(0.5, BOTH))
    assert codec.seeds == [utterance_seed(0, f"sha1 of {row}") for row in range(3)]


@pytest.mark.slow
def test_only_native_recordings_count_above_12_khz() -> None:
    summary = Setup(narrow=frozenset({1})).run(Codec(0.5, BOTH), Codec(0.5, BOTH))
    assert (summary["count/native_high_band"], summary["count/undefined_lsd_high_db"]) == (2, 1)
    none = Setup(narrow=frozenset({0, 1, 2})).run(Codec(0.5, BOTH), Codec(0.5, BOTH))
    assert none["count/native_high_band"] == 0
    assert not [name for name in none if name.endswith("/lsd_high_db") or "_under_" in name]
    assert none["head_48k/l1"] > 0


@pytest.mark.slow
def test_without_a_native_training_recording_there_is_no_noise_baseline() -> None:
    summary = Setup(narrow_training=True).run(Codec(1.0, BOTH), Codec(0.5, BOTH))
    assert summary["baseline/lsd_high_db"] > 40
    assert not [name for name in summary if "noise" in name]


@pytest.mark.slow
def test_an_undefined_utterance_is_left_out_and_counted(tmp_path: Path) -> None:
    whole = Setup().run(Codec(0.5, BOTH), Codec(0.5, BOTH))
    summary = Setup(silent=frozenset({1})).run(Codec(0.5, BOTH), Codec(0.5, BOTH))
    assert summary["count/undefined_lsd_high_db"] == 1
    assert summary["count/utterances"] == 3
    assert summary["head_48k/lsd_high_db"] == pytest.approx(whole["head_48k/lsd_high_db"], abs=1e-4)
    write_summary(tmp_path, summary)


@pytest.mark.slow
def test_without_a_native_head_the_wide_output_is_narrowed() -> None:
    heads = {"head_48k": 48_000}
    both = Setup().run(Codec(1.0, BOTH), Codec(0.5, BOTH))
    alone = Setup(heads).run(Codec(1.0, heads), Codec(0.5, heads))
    assert alone["baseline/lsd_high_db"] == pytest.approx(both["baseline/lsd_high_db"], rel=0.05)


@pytest.mark.slow
def test_a_run_without_a_wide_head_has_no_baselines() -> None:
    heads = {"head_24k": 24_000}
    summary = Setup(heads).run(Codec(1.0, heads), Codec(0.5, heads))
    assert not [name for name in summary if name.startswith("baseline") or "high" in name]


def test_codes_shorter_than_the_audio_are_an_error() -> None:
    with pytest.raises(DataError, match="cache its codes"):
        Setup().run(Codec(1.0, BOTH, num_tokens=11), Codec(1.0, BOTH))


@pytest.mark.slow
def test_summary_is_written_and_shown_at_80_columns(tmp_path: Path) -> None:
    summary = Setup().run(Codec(0.9, BOTH), Codec(0.5, BOTH))
    path = write_summary(tmp_path, summary)
    assert path == tmp_path / "summary.json"
    assert read_json(path) == summary
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(summary))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    wide = io.StringIO()
    Console(file=wide, width=120).print(summary_table(summary))
    names = ["head_48k", "initial/head_48k", "baseline", "baseline_noise", "head_24k", "initial/head_24k"]
    for metric in (metric_of("l1"), metric_of("lsd_high_db"), metric_of("stoi")):
        (row,) = [
            line.strip() for line in wide.getvalue().splitlines() if line.strip().startswith(f"{heading(metric)} ")
        ]
        expected = [metric.text(summary[key]) for name in names if (key := f"{name}/{metric.name}") in summary]
        assert row.removeprefix(heading(metric)).split() == expected
    assert "98% under baseline" in out.getvalue()
    assert "…" not in out.getvalue()
