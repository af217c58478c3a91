from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.targets.wideband import WideBand
from snac_exp.errors import ConfigError, DataError
from snac_exp.evaluation.utterances import Selection, measurable, select, spread, wide_band_audio


@pytest.fixture(scope="module")
def manifest(prepared: Path) -> Manifest:
    return Manifest.read(prepared)


def test_every_file_is_judged_by_its_own_band(manifest: Manifest) -> None:
    found = {item.row.path: item.narrow and item.narrow[0] for item in select(manifest, Selection())}
    assert found == {
        "val_a/wide0.flac": None,
        "val_a/wide1.flac": None,
        "val_a/wide2.flac": None,
        "val_b/rate24.flac": "rate",
        "val_b/upsampled.wav": "cutoff",
    }


@pytest.mark.slow
def test_only_tier_a_reaches_22_khz_on_real_speech(shared_data: Path, tmp_path: Path) -> None:
    """219 clips recorded at 48 kHz, two of them narrow; 101 from 44.1 kHz, of which none may count."""
    import csv

    from snac_exp.data.files.bandwidth import measure_bandwidth

    folder = shared_data / "speech48k"
    rule, counts = Selection().wide_band, {"A": [0, 0], "B": [0, 0], "C": [0, 0]}
    with open(folder / "index.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counts[row["tier"]][rule.failure(measure_bandwidth(folder / row["path"])) is None] += 1
    assert counts == {"A": [2, 217], "B": [18, 0], "C": [83, 0]}


def test_the_selection_is_spread_and_can_leave_narrow_files_out(manifest: Manifest) -> None:
    everything = [item.row.path for item in select(manifest, Selection())]
    assert [item.row.path for item in select(manifest, Selection(num_utterances=2))] == [everything[0], everything[2]]
    wide = select(manifest, Selection(only_wide_band=True, num_utterances=2))
    assert [item.row.path for item in wide] == ["val_a/wide0.flac", "val_a/wide1.flac"]
    train = select(manifest, Selection(split="train"))
    assert {item.row.split for item in train} == {"train"}
    assert len(train) == 3


def test_a_part_is_spread_over_the_whole() -> None:
    assert spread(10, None) == list(range(10))
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, 200) == [0, 1, 2]


def test_references_are_the_recording_at_each_rate(manifest: Manifest) -> None:
    wide = select(manifest, Selection())[0]
    samples, _ = soundfile.read(wide.recording.path, dtype="float32")
    at_48k, at_24k = wide.reference(48_000), wide.reference(24_000)
    assert at_48k is not None
    assert at_24k is not None
    assert torch.equal(at_48k, torch.from_numpy(samples))
    assert (at_48k.numel(), at_24k.numel()) == (62_001, 31_001)
    assert torch.equal(at_24k, wide.source(24_000))


def test_a_recording_at_24_khz_has_no_reference_at_48(manifest: Manifest) -> None:
    found = {item.row.path: item for item in select(manifest, Selection())}
    assert found["val_b/rate24.flac"].reference(48_000) is None
    assert found["val_b/rate24.flac"].reference(24_000) is not None
    kept, dropped = measurable(list(found.values()), [48_000])
    assert [item.row.path for item in dropped] == ["val_b/rate24.flac"]
    assert len(kept) == 4
    with pytest.raises(DataError, match="all 1 recordings are below 48000 Hz"):
        measurable(dropped, [48_000])


def test_of_a_long_recording_the_beginning_counts(manifest: Manifest) -> None:
    whole, part = (select(manifest, Selection(max_seconds=seconds))[0] for seconds in (30.0, 0.5))
    assert part.seconds == 0.5
    for rate in (24_000, 48_000):
        expected, found = whole.reference(rate), part.reference(rate)
        assert expected is not None
        assert found is not None
        assert torch.equal(found, expected[: rate // 2])


def test_references_at_48_khz_may_lie_elsewhere(manifest: Manifest, tmp_path: Path) -> None:
    for item in select(manifest, Selection(num_utterances=1)):
        samples, _ = soundfile.read(item.recording.path, dtype="float32")
        target = (tmp_path / item.row.path).with_suffix(".wav")
        target.parent.mkdir(parents=True)
        soundfile.write(target, 0.5 * samples, 48_000, subtype="FLOAT")
    (moved,) = select(manifest, Selection(num_utterances=1, target_dir=tmp_path))
    reference = moved.reference(48_000)
    assert reference is not None
    assert torch.equal(reference, torch.from_numpy(0.5 * samples))
    assert torch.equal(moved.source(48_000), torch.from_numpy(samples))
    with pytest.raises(DataError, match="no target file for val_a/wide1"):
        select(manifest, Selection(target_dir=tmp_path))


def test_the_seed_of_an_utterance_follows_from_its_content(manifest: Manifest) -> None:
    whole, part = select(manifest, Selection()), select(manifest, Selection(num_utterances=2))
    seeds = {item.row.path: item.seed(0) for item in whole}
    assert all(item.seed(0) == seeds[item.row.path] for item in part)
    assert len({*seeds.values(), whole[0].seed(1)}) == 6


def test_the_mean_spectrum_is_taken_of_wide_training_files_only(manifest: Manifest) -> None:
    audio = wide_band_audio(manifest, Selection(), 200)
    assert [read().numel() for read in audio] == [60_000, 60_000]


def test_impossible_selections_name_the_mend(manifest: Manifest) -> None:
    with pytest.raises(ConfigError, match="max_seconds=90"):
        Selection(max_seconds=90)
    with pytest.raises(ConfigError, match="num_utterances=0"):
        Selection(num_utterances=0)
    with pytest.raises(DataError, match="only_wide_band=false"):
        select(manifest, Selection(only_wide_band=True, wide_band=WideBand(min_cutoff_hz=30_000.0)))
    only_train = manifest.with_rows(row for row in manifest.rows if row.split == "train")
    with pytest.raises(DataError, match="no validation rows"):
        select(only_train, Selection())


def test_a_changed_file_is_an_error(prepared: Path, manifest: Manifest) -> None:
    row = replace(manifest.rows[-1], num_samples=10, seconds=10 / manifest.rows[-1].rate)
    changed = manifest.with_rows([row])
    (item,) = select(changed, Selection(split=row.split))
    with pytest.raises(DataError, match="the file has changed"):
        item.source(24_000)
