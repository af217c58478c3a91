"""Which files train and which validate: no speaker and no recording is on both sides."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snac_exp.data.measuring.journal import JOURNAL_NAME
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.prepared.split import draw_validation, speaker_of
from snac_exp.errors import ConfigError, DataError
from tests.data.prepared.folders import small_corpus, write


def test_whole_speakers_validate_and_ratio_counts_seconds(tmp_path: Path) -> None:
    small_corpus(tmp_path / "in", speakers=10)
    prepare(tmp_path / "in", tmp_path / "out", train_ratio=0.8)
    splits: dict[str, set[str]] = {}
    for row in Manifest.read(tmp_path / "out").rows:
        splits.setdefault(row.speaker, set()).add(row.split)
    assert all(len(split) == 1 for split in splits.values())
    assert Counter(split.pop() for split in splits.values()) == {"train": 8, "validation": 2}


@pytest.mark.slow
@given(
    seconds=st.dictionaries(st.text(max_size=5), st.floats(0.1, 1000), min_size=2, max_size=30),
    ratio=st.floats(0.05, 0.99),
    seed=st.integers(0, 9),
)
def test_a_drawn_split_has_both_sides_and_is_as_near_as_single_groups_allow(
    seconds: dict[str, float], ratio: float, seed: int
) -> None:
    chosen = draw_validation(seconds, ratio, seed)
    assert 1 <= len(chosen) < len(seconds)
    assert chosen == draw_validation(dict(reversed(seconds.items())), ratio, seed)
    wanted = (1 - ratio) * sum(seconds.values())
    assert abs(sum(seconds[name] for name in chosen) - wanted) <= max(seconds.values())


def test_another_seed_gives_another_split() -> None:
    seconds = {f"speaker{i}": 1.0 for i in range(40)}
    assert draw_validation(seconds, 0.9, 0) != draw_validation(seconds, 0.9, 1)
    with pytest.raises(ConfigError, match="train_ratio=95"):
        draw_validation(seconds, 95, 0)
    with pytest.raises(DataError, match="only 1 speaker to split: only; use split=file"):
        draw_validation({"only": 1.0}, 0.9, 0)


def test_speakers_are_folders_at_the_chosen_level() -> None:
    assert speaker_of("train/p1/chapter/a.wav", None) == "train/p1/chapter"
    assert speaker_of("train/p1/chapter/a.wav", 2) == "train/p1"
    assert speaker_of("p1/a.wav", 3) == "p1"
    assert speaker_of("a.wav", None) == "."


def test_files_can_be_split_without_speakers(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / "in" / f"{i:02d}.wav", seed=i)
    with pytest.raises(DataError, match="use split=file"):
        prepare(tmp_path / "in", tmp_path / "other")
    summary = prepare(tmp_path / "in", tmp_path / "out", split="file")
    assert summary.num_rows == {"train": 19, "validation": 1}


def test_what_cannot_be_split_is_refused_before_a_file_is_read(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "in" / "only" / f"{i}.wav", seed=i)
    for options, message in (
        ({}, "only 1 speaker to split: only"),
        ({"validation_speakers": ["onl*"]}, "match every speaker"),
        ({"validation_speakers": ["val_*"]}, "no speaker matches"),
        ({"train_ratio": 95}, "train_ratio=95"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            prepare(tmp_path / "in", tmp_path / "out", **options)  # type: ignore[arg-type]
        assert not (tmp_path / "out" / JOURNAL_NAME).exists()
    with pytest.raises(DataError, match="only 1 file to split"):
        prepare(write(tmp_path / "single" / "a.wav").parent, tmp_path / "out", split="file")


def test_validation_speakers_are_named_by_patterns(tmp_path: Path) -> None:
    small_corpus(tmp_path / "in" / "nested", speakers=4)
    small_corpus(tmp_path / "in", speakers=2, files=2)
    prepare(tmp_path / "in", tmp_path / "out", validation_speakers=["speaker3", "speaker0"])
    speakers = {row.speaker for row in Manifest.read(tmp_path / "out").rows if row.split == "validation"}
    assert speakers == {"nested/speaker3", "nested/speaker0"}  # speaker0/0.wav is a duplicate, see below
    with pytest.raises(DataError, match="no speaker matches 'val_\\*'; the first speakers are nested/speaker0"):
        prepare(tmp_path / "in", tmp_path / "b", validation_speakers=["val_*"])
    with pytest.raises(DataError, match="match every speaker"):
        prepare(tmp_path / "in", tmp_path / "b", validation_speakers=["*"])
