"""Code caches and folders as sources of a mixture: items are those of each source alone, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.mixture.slices import CodeMixture, FolderMixture
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.sampling import SliceSampler, SliceSpec
from snac_exp.data.slices.splits import Splits
from snac_exp.errors import ConfigError, DataError

HEADS = {"head_24k": 24_000, "head_48k": 48_000}
SHORT: dict[str, Any] = {"validation_seconds": 0.25, "validation_slices": 3}


@pytest.fixture(scope="module")
def mixed(cache_dir: Path, codec: LoadedCodec) -> Splits:
    """Four rows of three quarters, and all fifteen of one quarter."""
    sources = {
        "few": {"cache_dir": str(cache_dir), "limit": 4, "weight": 3},
        "all": {"cache_dir": str(cache_dir), "weight": 1.0},
    }
    return CodeMixture(sources=sources, **SHORT).open(codec, HEADS, seed=0)


def test_a_row_is_what_it_is_in_its_own_source(mixed: Splits, cache_dir: Path, codec: LoadedCodec) -> None:
    alone = CachedCodes(str(cache_dir), **SHORT).open(codec, HEADS, seed=0)
    assert len(mixed.train) == 4 + 15
    for row in range(15):
        spec = SliceSpec(row, 0, 5, 0, 5)
        ours, theirs = mixed.train[replace(spec, row=row + 4)], alone.train[spec]
        assert ours.row == row + 4
        assert all(torch.equal(a, b) for a, b in zip(ours.codes, theirs.codes, strict=True))
        assert all(torch.equal(ours.audio[head], theirs.audio[head]) for head in HEADS)
        assert mixed.train.path(row + 4) == alone.train.path(row)
        assert mixed.train.speaker(row + 4) == alone.train.speaker(row)
        assert mixed.train.sha1(row + 4) == alone.train.sha1(row)
    codes, audio = mixed.train.whole(5)
    expected_codes, expected = alone.train.whole(1)
    assert torch.equal(codes[0], expected_codes[0])
    assert torch.equal(audio["head_48k"], expected["head_48k"])


def test_validation_is_that_of_every_source_by_turns(mixed: Splits, cache_dir: Path, codec: LoadedCodec) -> None:
    alone = CachedCodes(str(cache_dir), **SHORT).open(codec, HEADS, seed=0)
    groups, first = mixed.validation_groups(), len(alone.validation)
    assert groups["few"] == alone.validation_specs
    assert groups["all"] == [replace(spec, row=spec.row + first) for spec in alone.validation_specs]
    assert [spec.row < first for spec in mixed.validation_specs] == [True, False] * 3
    assert alone.validation_groups() == {"": alone.validation_specs}


def test_batches_hold_the_shares_by_epoch_and_position(mixed: Splits, codec: LoadedCodec) -> None:
    assert mixed.streams is not None

    def batches(epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> list[list[SliceSpec]]:
        assert mixed.streams is not None
        rows = mixed.streams.epoch_items(epoch)
        numbers = {"seed": 1, "batch_size": 4, "num_tokens": 5, "context_tokens": 0, "epoch": epoch}
        sampler = SliceSampler(
            mixed.train.coarse_lengths, codec.geometry, start_batch=start, rank=rank, world_size=world, rows=rows,
            **numbers,  # type: ignore[arg-type]
        )  # fmt: skip
        found = list(sampler)
        for number, specs in enumerate(found, start):
            whole = sampler.batch_rows(number).tolist()
            assert {spec.row for spec in specs} <= set(whole)
            assert world > 1 or [spec.row for spec in specs] == whole
        return found

    first, second = batches(1), batches(2)
    assert batches(1, start=3) == first[3:]
    ranks = [batches(1, rank=rank, world=2) for rank in range(2)]
    assert [one + other for one, other in zip(*ranks, strict=True)] == first
    rows = [np.array([spec.row for batch in epoch for spec in batch]) for epoch in (first, second)]
    assert [int((part < 4).sum()) for part in rows] == [14, 14], "three quarters of 19, by largest remainder"
    assert rows[0].tolist() != rows[1].tolist()
    assert "14 of few (73.7%, 3.5 times its rows)" in mixed.streams.described()


def test_speakers_of_all_sources_take_turns(cache_dir: Path, codec: LoadedCodec) -> None:
    sources = {"all": {"cache_dir": str(cache_dir)}}
    splits = CodeMixture(sources=sources, balance="speakers", epoch_rows=30, **SHORT).open(codec, HEADS, seed=0)
    assert splits.streams is not None
    speakers = [splits.train.speaker(row) for row in splits.streams.epoch_items(1).tolist()]
    assert {name: speakers.count(name) for name in speakers} == {f"speaker{i}": 10 for i in range(3)}


def test_folders_mix_too(corpus_dir: Path, codec: LoadedCodec) -> None:
    path = str(corpus_dir / "prepared")
    sources = {"a": {"path": path, "limit": 3}, "b": {"path": path}}
    splits = FolderMixture(sources=sources, temperature=float("inf"), **SHORT).open(codec, HEADS, seed=0)
    assert splits.streams is not None
    assert splits.streams.counts == (9, 9)
    assert splits.train[SliceSpec(17, 0, 5, 0, 5)].source is not None


CASES: list[tuple[dict[str, Any] | list[str], type[Exception], str]] = [
    ({}, ConfigError, r"data\.sources=.* names no sources"),
    (["A"], ConfigError, r"names no sources; give each a name"),
    ({"a/b": {"cache_dir": "CACHE"}}, ConfigError, r"data\.sources\.a/b: a source is named in metrics"),
    ({"a": "CACHE"}, ConfigError, r"data\.sources\.a='.*' must be a group of options"),
    ({"a": {"cache_dir": "CACHE", "wieght": 2}}, ConfigError, r"unknown key 'data\.sources\.a\.wieght'.*'weight'"),
    ({"a": {"path": "CACHE"}}, ConfigError, r"unknown key 'data\.sources\.a\.path'"),
    ({"a": {"limit": 3}}, ConfigError, r"missing key 'data\.sources\.a\.cache_dir'"),
    ({"a": {"cache_dir": "CACHE", "weight": "x"}}, ConfigError, r"data\.sources\.a\.weight='x' must be of type float"),
    ({"a": {"cache_dir": "CACHE", "context_tokens": 3}}, ConfigError, r"is one for all sources; set data\.context_to"),
    (
        {"a": {"cache_dir": "CACHE"}, "b": {"cache_dir": "OTHER"}},
        DataError,
        r"data\.sources\.b: .*codes are of tiny",
    ),
    ({"a": {"cache_dir": "CACHE"}, "b": {"cache_dir": "EMPTY"}}, DataError, r"data\.sources\.b: .*no train rows"),
    ({"a": {"cache_dir": "CACHE"}, "b": {"cache_dir": "NONE"}}, DataError, r"data\.sources\.b: .*no code cache there"),
]


@pytest.fixture(scope="module")
def other_caches(
    manifest: Manifest, codec: LoadedCodec, make_codec: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A cache of another codec, and one without training rows."""
    folder = tmp_path_factory.mktemp("others")
    few = [row for row in manifest.rows if row.split == "validation"]
    cache_codes(manifest.with_rows(few[:1]), make_codec(seed=1), folder / "other")
    cache_codes(manifest.with_rows(few[:1]), codec, folder / "empty")
    return {"OTHER": str(folder / "other"), "EMPTY": str(folder / "empty"), "NONE": str(folder / "none")}


@pytest.mark.slow
@pytest.mark.parametrize(("sources", "kind", "message"), CASES)
def test_sources_that_make_no_sense_are_named(
    sources: Any, kind: type[Exception], message: str, cache_dir: Path, codec: LoadedCodec, other_caches: dict[str, str]
) -> None:
    places = {"CACHE": str(cache_dir), **other_caches}

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(item) for key, item in value.items()}
        return places.get(value, value) if isinstance(value, str) else value

    with pytest.raises(kind, match=message):
        CodeMixture(sources=placed(sources), **SHORT).open(codec, HEADS, seed=0)


def test_a_source_whose_files_have_too_low_a_rate_is_named_before_training(cache_dir: Path, codec: LoadedCodec) -> None:
    sources = {"ok": {"cache_dir": str(cache_dir)}}
    heads = {"head_24k": 24_000, "head_96k": 96_000}
    with pytest.raises(DataError, match=r"data\.sources\.ok: .*48000 Hz has no target for a head of 96000 Hz"):
        CodeMixture(sources=sources, **SHORT).open(codec, heads, seed=0)
