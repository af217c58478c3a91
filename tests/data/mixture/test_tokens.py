"""Sources of tokens in one mixture: windows of each by its share, files named as in their own source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.mixture.tokens import TokenMixture
from snac_exp.data.tokens.sources import CodeCacheTokens
from snac_exp.data.tokens.windows import WindowSampler
from snac_exp.errors import ConfigError, DataError


def sources(cache_dir: Path, **others: dict[str, Any]) -> dict[str, Any]:
    return {"a": {"cache_dir": str(cache_dir)}, "b": {"cache_dir": str(cache_dir)}, **others}


def test_windows_come_by_shares_and_are_read_from_their_source(cache_dir: Path, codec: LoadedCodec) -> None:
    weighted = {
        name: {**options, "weight": weight}
        for (name, options), weight in zip(sources(cache_dir).items(), (1.0, 3.0), strict=True)
    }
    splits = TokenMixture(sources=weighted, epoch_rows=40).open_tokens(codec, seed=0)
    alone = CodeCacheTokens(str(cache_dir)).open_tokens(codec, seed=0)
    index = splits.train_index(4)
    streams = splits.streams(index)
    assert streams is not None
    assert (len(index), streams.counts) == (2 * len(alone.train_index(4)), (10, 30))
    sampler = WindowSampler(index, 5, 8, 2, windows=streams.epoch_items(2))
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [8] * 5
    num_files = len(alone.train.source.lengths)
    found = [spec.file >= num_files for batch in batches for spec in batch]
    assert found.count(True) == 30
    for number, batch in enumerate(batches):
        assert streams.counted(sampler.batch_windows(number))["b"] == sum(spec.file >= num_files for spec in batch)
    spec = next(spec for batch in batches for spec in batch if spec.file >= num_files)
    frames = splits.train.source.read(spec.file, spec.start, 1)
    assert np.array_equal(frames, alone.train.source.read(spec.file - num_files, spec.start, 1))
    assert splits.train.source.name(spec.file) == alone.train.source.name(spec.file - num_files)
    groups = splits.validation_groups(8, 0)
    assert groups["a"] == alone.validation_specs(8, 0)
    assert [spec.file - num_files for spec in groups["b"]] == [spec.file for spec in groups["a"]]
    assert splits.validation_specs(8, 0) == groups["a"] + groups["b"]


def test_speakers_take_turns_among_windows(cache_dir: Path, codec: LoadedCodec) -> None:
    splits = TokenMixture(sources=sources(cache_dir), balance="speakers", epoch_rows=60).open_tokens(codec, seed=0)
    index = splits.train_index(4)
    streams = splits.streams(index)
    assert streams is not None
    names = [splits.train.source.name(spec.file).split("/")[0] for spec in index.specs(streams.epoch_items(1))]
    assert {name: names.count(name) for name in names} == {f"speaker{i}": 20 for i in range(3)}


@pytest.mark.parametrize(
    ("others", "options", "kind", "message"),
    [
        (
            {"c": {"cache_dir": "CACHE", "frames": "repeated"}},
            {},
            DataError,
            r"sources\.c has .*sources\.a .*one codec",
        ),
        ({"c": {"directory": "/none"}}, {}, DataError, r"data\.sources\.c: .*no folder /none"),
        ({}, {"balance": "all"}, ConfigError, r"data\.balance=all is not valid; choose one of: rows, speakers"),
        ({}, {"epoch_rows": 0}, ConfigError, r"data\.epoch_rows=0 must be at least 1"),
        ({"c": {"cache_dir": "CACHE", "weight": 1}}, {}, ConfigError, r"data\.sources\.a has no weight, others have"),
    ],
)
def test_sources_of_tokens_that_make_no_sense_are_named(
    others: dict[str, Any],
    options: dict[str, Any],
    kind: type[Exception],
    message: str,
    cache_dir: Path,
    codec: LoadedCodec,
) -> None:
    placed = {
        name: {k: str(cache_dir) if v == "CACHE" else v for k, v in item.items()} for name, item in others.items()
    }
    with pytest.raises(kind, match=message):
        TokenMixture(sources=sources(cache_dir, **placed), **options).open_tokens(codec, seed=0)
