"""Whatever a folder was prepared from, packed it has the same rows, samples and columns."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from snac_exp.data.packed.folder import pack_folder
from snac_exp.data.packed.plan import PackOptions
from snac_exp.data.prepared.manifest import Manifest, open_manifest_table
from snac_exp.data.prepared.manifest_rows import SCHEMA
from snac_exp.data.rows import manifest_rows
from tests.data.sources.kinds import MAKE, utterances_of, written
from tests.helpers.commands import verb
from tests.helpers.variants import thorough


@pytest.mark.slow
@pytest.mark.parametrize("audio", ["keep", "flac"])
@pytest.mark.parametrize("kind", ["parquet", "segments", *thorough(*sorted(MAKE.keys() - {"parquet", "segments"}))])
def test_packed_rows_are_those_of_their_source(kind: str, audio: str, corpus_dir: Path, tmp_path: Path) -> None:
    source, more = written(kind, tmp_path / "source", utterances_of(corpus_dir / "audio"))
    prepared = tmp_path / "prepared"
    verb("prepare", f"input={source}", f"output={prepared}", "split=file", "num_workers=1", *more).succeeded()
    options = PackOptions("shuffled", shard_bytes=300_000, audio=audio)  # type: ignore[arg-type]
    summary = pack_folder(prepared, tmp_path / "packed", options, check=True)
    own, packed = Manifest.with_audio(prepared), Manifest.with_audio(tmp_path / "packed")
    assert len(packed.rows) == len(own.rows) == summary.num_rows > 1
    assert audio == "flac" or packed.digest == own.digest
    for row, before in zip(packed.rows, own.rows, strict=True):
        assert (row.path, row.split, row.speaker) == (before.path, before.split, before.speaker)
        assert dict(row.columns) == dict(before.columns)
        one = manifest_rows(packed).read(row, row.rate, 100, 3000).samples
        assert np.array_equal(one, manifest_rows(own).read(before, row.rate, 100, 3000).samples)
        assert packed.recording(row).sha1() == row.sha1
    schema = pa.schema([*SCHEMA, *packed.more])
    assert open_manifest_table(tmp_path / "packed")[0].to_pylist() == [row.values(schema) for row in packed.rows]
