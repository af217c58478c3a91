"""The hub of data sets, of which there is none here."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from datasets import IterableDataset  # type: ignore[import-untyped]


class StandInHub:
    """`datasets.load_dataset` with a folder in place of the hub; remembers what was asked for."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache, self.asked = folder, cache, list[tuple[object, ...]]()

    def load_dataset(
        self, name: str, config: str | None, *, split: str | None, revision: str | None, streaming: bool = False
    ) -> object:
        self.asked.append((name, config, split, revision))
        if config == "none":
            raise ValueError("BuilderConfig 'none' not found. Available: ['default']")
        return self.load(str(self.folder), split=split, cache_dir=str(self.cache), streaming=streaming)

    def installed(self, monkeypatch: pytest.MonkeyPatch) -> "StandInHub":
        import datasets  # type: ignore[import-untyped]

        self.load = datasets.load_dataset
        monkeypatch.setattr(datasets, "load_dataset", self.load_dataset)
        return self


class StreamingHub(StandInHub):
    """Its newest commit is 1 and may change; the network fails at the end of the file behind the first `num_files`."""

    commit, read, num_files = "1", 0, 99

    def dataset_info(self, name: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        return SimpleNamespace(sha=f"commit {self.commit if revision is None else revision}")

    def installed(self, monkeypatch: pytest.MonkeyPatch) -> "StreamingHub":
        super().installed(monkeypatch)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: self)
        read = IterableDataset.iter

        def read_or_fail(part: IterableDataset, batch_size: int) -> Iterator[pa.Table]:
            yield from read(part, batch_size)
            self.read += 1
            if self.read > self.num_files:
                raise ConnectionError("no route to host")

        monkeypatch.setattr(IterableDataset, "iter", read_or_fail)
        return self
