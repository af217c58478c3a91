"""A data source of one's own is a class and a YAML: nothing in the package is edited for it."""

from pathlib import Path

import pytest
import torch
import yaml

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.config.instantiate import instantiate
from snac_exp.config.provides import provided_by
from snac_exp.config.schema import Component
from snac_exp.data.loader import make_loader
from snac_exp.data.slices.sampling import SliceSampler

SOURCE = '''
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from snac_exp.data.prepared.manifest import read_manifest_table
from snac_exp.data.slices.audio_folder import AudioDataset
from snac_exp.data.slices.audio_table import AudioTable
from snac_exp.data.slices.dataset import AudioFolders
from snac_exp.data.slices.splits import Splits


@dataclass(frozen=True)
class ByLength:
    """A prepared folder whose shortest files train and whose longest validate."""

    provides: ClassVar[frozenset[str]] = frozenset({"audio"})

    path: str
    num_validation: int

    def open(self, codec, heads, seed):
        rows, header = read_manifest_table(Path(self.path))
        table = AudioTable.build([rows], [AudioFolders(Path(header["input_dir"]), None)], codec.geometry)
        order = table.num_samples.argsort(kind="stable")
        parts = order[: -self.num_validation], order[-self.num_validation :]
        datasets = [AudioDataset(table, part, codec, heads) for part in parts]
        return Splits.of(*datasets, codec, seed, context_tokens=0, seconds=0.25, num_slices=4)
'''
YAML = """
_target_: lab_by_length.ByLength   # the data source
path: {path}        # what snac-exp prepare wrote
num_validation: 3   # how many of the longest files validate
"""


def test_a_source_of_ones_own_is_read_like_ours(
    tmp_path: Path, corpus_dir: Path, codec: LoadedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_by_length.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    options = yaml.safe_load(YAML.format(path=corpus_dir / "prepared"))
    component = Component(options.pop("_target_"), options)
    assert provided_by(component) == {"audio"}
    splits = instantiate(component, "data").open(codec, {"head_24k": 24_000}, 0)
    assert len(splits.validation) == 3
    assert splits.validation.num_samples.min() >= splits.train.num_samples.max()
    assert len(splits.validation_specs) == 4
    sampler = SliceSampler(splits.train.coarse_lengths, codec.geometry, 0, 4, 4, 0, epoch=1)
    batches = list(make_loader(splits.train, sampler))
    assert sum(len(batch) for batch in batches) == len(splits.train)
    for batch in batches:
        assert batch.source is not None
        assert torch.equal(batch.audio["head_24k"], batch.source)
