"""A constant delay of a target model is declared once and taken back wherever its targets are read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from snac_exp.codec.checkpoint import LoadedCodec, bundled_directory, load_directory
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.slices.audio_folder import AudioFolder
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.sampling import SliceSpec
from snac_exp.data.slices.splits import Splits
from snac_exp.errors import ConfigError
from snac_exp.evaluation.utterances import Selection, select
from tests.helpers.commands import train, verb
from tests.helpers.tiny_runs import one_thread, tiny

__all__ = ["one_thread", "tiny"]  # fixtures

DELAY = 0.025
HEADS = {"head_24k": 24_000, "head_48k": 48_000}
SPLITS = ("train", "validation")


@pytest.fixture(scope="module")
def codec() -> LoadedCodec:
    return load_directory("demo", bundled_directory("demo_codec"))


@pytest.fixture(scope="module")
def folders(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Targets in time, late ones that go on to their end, late ones cut off where their sources end, and early ones."""
    made = tmp_path_factory.mktemp("targets")
    manifest = Manifest.read(corpus_dir / "prepared")
    for row in manifest.rows:
        samples, rate = soundfile.read(manifest.recording(row).path, dtype="int16")
        assert rate == 48_000
        late = np.concatenate([np.zeros(round(DELAY * rate), "int16"), samples])
        forms = {"in_time": samples, "late": late, "cut": late[: len(samples)], "early": samples[960:]}
        for name, form in forms.items():
            (made / name / row.path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(made / name / row.path, form, rate, subtype="PCM_16")
    return {path.name: path for path in made.iterdir()}


def opened(corpus_dir: Path, codec: LoadedCodec, targets: Path, delay: float = 0.0) -> Splits:
    source = CachedCodes(
        str(corpus_dir / "prepared/codes_demo"), str(targets), delay, validation_seconds=0.3, validation_slices=8
    )
    return source.open(codec, HEADS, 0)


def specs_of(dataset: Any) -> list[SliceSpec]:
    """The beginning, a middle and the end of the first rows."""
    step = dataset.geometry.coarse_step
    return [
        SliceSpec(row, start, 4 * step, start, 4 * step)
        for row in range(3)
        for start in (0, 8 * step, (int(dataset.coarse_lengths[row]) // step - 3) * step)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["late", "cut", "early"])
@pytest.mark.parametrize("split", SPLITS)
def test_slices_and_whole_rows_are_those_of_targets_in_time(
    form: str, split: str, folders: dict[str, Path], corpus_dir: Path, codec: LoadedCodec
) -> None:
    delay = -0.02 if form == "early" else DELAY
    wanted = getattr(opened(corpus_dir, codec, folders["in_time"]), split)
    found = getattr(opened(corpus_dir, codec, folders[form], delay), split)
    lost = round(DELAY * 24_000) if form == "cut" else 0  # of the end, which lies behind the end of the file
    for spec in specs_of(wanted):
        one, other = wanted[spec], found[spec]
        cut = max(
            0, lost - (int(wanted.num_samples[spec.row]) - spec.start * wanted.geometry.coarse_hop - one.valid_samples)
        )
        assert one.valid_samples - other.valid_samples == min(cut, one.valid_samples)
        assert torch.equal(one.audio["head_24k"], other.audio["head_24k"])  # of the source
        first = 960 if form == "early" and spec.start == 0 else 0  # the file has none of it
        last = 2 * other.valid_samples
        assert torch.equal(one.audio["head_48k"][first:last], other.audio["head_48k"][first:last])
        assert not other.audio["head_48k"][:first].any()
    for row in range(2):
        one, other = wanted.whole(row)[1]["head_48k"][0, 0], found.whole(row)[1]["head_48k"][0, 0]
        assert one.shape == other.shape
        stop = len(one) - 2 * lost
        assert torch.equal(one[960:stop], other[960:stop])


def test_raw_audio_and_its_sources_take_it_too(folders: dict[str, Path], corpus_dir: Path, codec: LoadedCodec) -> None:
    prepared, late = str(corpus_dir / "prepared"), str(folders["late"])
    named = [{"path": prepared, "target_dir": late, "target_delay_seconds": DELAY}]
    wanted = AudioFolder(prepared, target_dir=str(folders["in_time"])).open(codec, HEADS, 0).train
    for source in (AudioFolder(prepared, target_dir=late, target_delay_seconds=DELAY), AudioFolder(sources=named)):
        found = source.open(codec, HEADS, 0).train
        for spec in specs_of(wanted)[:3]:
            assert torch.equal(found[spec].audio["head_48k"], wanted[spec].audio["head_48k"])
    with pytest.raises(ConfigError, match="belong to data"):
        AudioFolder(sources=named, target_delay_seconds=DELAY).open(codec, HEADS, 0)


def test_references_of_an_evaluation_take_it_back(folders: dict[str, Path], corpus_dir: Path) -> None:
    manifest = Manifest.read(corpus_dir / "prepared")
    wanted = select(manifest, Selection(target_dir=folders["in_time"]))[0]
    found = select(manifest, Selection(target_dir=folders["late"], target_delay_seconds=DELAY))[0]
    for rate in HEADS.values():
        one, other = wanted.reference(rate), found.reference(rate)
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)
    assert "target_delay_seconds" not in Selection().to_json()  # earlier evaluations stay comparable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delay", "targets", "reason"),
    [
        (0.5, True, "must lie within"),
        (float("nan"), True, "must lie within"),
        (0.01, False, "target_dir names none"),
    ],
)
def test_what_no_model_has_is_refused(
    delay: float, targets: bool, reason: str, folders: dict[str, Path], corpus_dir: Path
) -> None:
    given = [f"data.target_delay_seconds={delay}", *([f"data.target_dir={folders['late']}"] if targets else [])]
    done = verb("check", *recipe(corpus_dir), *given)
    assert done.status == 2
    assert reason in done.err


def recipe(corpus_dir: Path) -> list[str]:
    cache = f"data.cache_dir={corpus_dir / 'prepared/codes_demo'}"
    return ["+experiment=phase12_dual_head", "codec=demo", cache, "trainer.accelerator=cpu", "trainer.num_workers=0"]


@pytest.mark.thorough
def test_the_preflight_judges_what_remains(folders: dict[str, Path], corpus_dir: Path) -> None:
    late = [*recipe(corpus_dir), f"data.target_dir={folders['late']}"]
    refused = verb("check", *late)
    assert refused.status == 2
    assert "its target is +25.0 ms late" in refused.err
    assert "declare the delay that all of them have: data.target_delay_seconds=0.02500" in refused.err
    done = verb("check", *late, f"data.target_delay_seconds={DELAY}").succeeded()
    assert "lie +0.00 ms from their sources, 25 ms that are declared taken back" in " ".join(done.out.split())
    wrong = verb("check", *late, "data.target_delay_seconds=0.015")
    assert wrong.status == 2
    assert "its target is +10.0 ms late" in wrong.err
    assert "data.target_delay_seconds=0.02500" in wrong.err


@pytest.mark.slow
def test_a_run_is_the_same_with_late_targets_that_are_declared(
    tiny: list[str], folders: dict[str, Path], tmp_path: Path
) -> None:
    """Losses, validations and the summary's references of a whole run."""
    values = []
    for form, delay in (("in_time", 0.0), ("late", DELAY)):
        given = [f"name={form}", f"data.target_dir={folders[form]}", f"data.target_delay_seconds={delay}"]
        train(*tiny, *given).succeeded()
        (run_dir,) = (tmp_path / "outputs" / form).iterdir()
        lines = (run_dir / "metrics.jsonl").read_text().splitlines()
        values.append([line for line in map(measured, lines) if line])
    assert values[0] == values[1]


def measured(line: str) -> dict[str, float]:
    """What does not depend on the clock."""
    return {key: value for key, value in json.loads(line).items() if key.startswith(("train/", "val/", "final/"))}
