"""Demo speech takes the way of a user's folder, is made once, and two processes do not disturb each other."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.demo import source as demo
from snac_exp.data.demo.source import DemoSpeech
from snac_exp.data.slices.splits import Splits
from tests.helpers.waiting import GUARD_SECONDS

HEADS = {"head_24k": 24000, "head_48k": 48000}


def write_stand_in(
    directory: Path, num_minutes: float, seed: int, num_train_voices: int, num_validation_voices: int
) -> None:
    """Noise in the synthesiser's layout; that it speaks is tested where it is made."""
    names = [f"voice{i}" for i in range(num_train_voices)] + [f"val_voice{i}" for i in range(num_validation_voices)]
    for number, name in enumerate(names):
        (directory / name).mkdir(parents=True)
        for i in range(2):
            noise = np.random.default_rng([seed, number, i]).uniform(-0.5, 0.5, round(num_minutes * 60 * 48000))
            soundfile.write(directory / name / f"utt{i}.flac", noise, 48000)


def source(directory: Path, **options: object) -> DemoSpeech:
    defaults = {"num_minutes": 0.01, "num_train_voices": 3, "num_validation_voices": 2, "validation_seconds": 0.3}
    return DemoSpeech(str(directory), **(defaults | options))


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def open_once(directory: Path, codec: LoadedCodec) -> Splits:
    return source(directory).open(codec, HEADS, seed=0)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "write_demo_speech", write_stand_in)


@pytest.mark.slow
def test_speech_is_made_prepared_and_cached_once(tmp_path: Path, codec: LoadedCodec) -> None:
    corpus = open_once(tmp_path, codec)
    assert (len(corpus.train), len(corpus.validation)) == (6, 4)
    assert {corpus.train.speaker(row) for row in range(6)} == {"voice0", "voice1", "voice2"}
    assert {corpus.validation.speaker(row) for row in range(4)} == {"val_voice0", "val_voice1"}
    before = files(source(tmp_path).folder())
    sample = corpus.train[corpus.validation_specs[0]]
    again = open_once(tmp_path, codec)
    after = files(source(tmp_path).folder())
    unchanged = [name for name in before if name.endswith((".flac", "manifest.parquet")) or "codes-0" in name]
    assert len(unchanged) == 10 + 1 + 1
    assert all(after[name] == before[name] for name in unchanged)
    assert np.array_equal(again.train[again.validation_specs[0]].audio["head_48k"], sample.audio["head_48k"])


@pytest.mark.slow
def test_another_codec_or_setting_gets_a_folder_of_its_own(tmp_path: Path, codec: LoadedCodec, make_codec) -> None:
    open_once(tmp_path, codec)
    open_once(tmp_path, make_codec(seed=1))
    assert len(list(source(tmp_path).folder().glob("codes-*"))) == 2
    assert source(tmp_path, seed=1).folder() != source(tmp_path).folder()
    assert source(tmp_path, limit=3).folder() == source(tmp_path).folder()


def test_an_interrupted_synthesis_is_not_taken_for_a_whole_one(
    tmp_path: Path, codec: LoadedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_some(directory: Path, *_: object) -> None:
        soundfile.write((directory.mkdir(parents=True), directory / "a.flac")[1], np.zeros(9), 48000)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "write_demo_speech", write_some)
    with pytest.raises(KeyboardInterrupt):
        open_once(tmp_path, codec)
    assert not (source(tmp_path).folder() / "audio").exists()


@pytest.mark.slow
def test_a_moved_folder_is_still_read(tmp_path: Path, codec: LoadedCodec, make_codec) -> None:
    open_once(tmp_path / "here", codec)
    (tmp_path / "here").rename(tmp_path / "there")
    for again in (codec, make_codec(seed=1)):
        assert len(open_once(tmp_path / "there", again).train) == 6


@pytest.mark.slow
def test_two_processes_that_start_at_once_make_it_once(tmp_path: Path, codec: LoadedCodec) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=open_once, args=(tmp_path, codec)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(GUARD_SECONDS)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(open_once(tmp_path, codec).train) == 6
