"""Damaged files of codes are refused by name, or read as they were written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snac_exp.release.code_files import parquet_writer, read_npz, read_parquet, write_npz
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from tests.campaigns.mutations import harmless, survives
from tests.release.conftest import speech_like


def facts(codes: Codes) -> tuple[Any, ...]:
    return [row.tolist() for row in codes.tokens], codes.num_samples, codes.sample_rate, codes.codebooks


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_damaged_file_of_codes_is_refused(kind: str, codec: ReleasedCodec, tmp_path: Path) -> None:
    codes = codec.encode(speech_like(6_000), 24_000)
    path = tmp_path / f"codes.{kind}"
    if kind == "npz":
        write_npz(path, codes)
    else:
        with parquet_writer(path, 3, codes.codebooks) as rows:
            for i in range(4):
                rows.append(f"{i}.wav", codes)
    read: dict[str, Callable[[Path], object]] = {
        "npz": lambda path: facts(read_npz(path)),
        "parquet": lambda path: [(name, facts(item)) for name, item in read_parquet(path)],
    }
    assert harmless(survives(read[kind], path, read[kind](path), 1, 80))
