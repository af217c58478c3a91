"""Folders in an S3 store are used as folders here are, whatever the network and the store do; nothing half is read."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from tests.helpers.commands import ROOT, train, verb
from tests.helpers.object_store import Store, environment_of, running_store
from tests.helpers.tiny_runs import one_thread, tiny  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow  # the server's start

SHORT = ("trainer.max_steps_per_epoch=1", "trainer.validate_every_epochs=2")
READER = """
import hashlib, sys
import torch
from torch.utils.data import DataLoader
from snac_exp.codec.opening import open_codec
from snac_exp.config.schema import Codec
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.slices.cached_codes import SHARD_NAME
from snac_exp.system.remote.folders import local_folder

table = CodeTable.open(local_folder(sys.argv[1], lambda name: SHARD_NAME.fullmatch(name) is not None))

class Rows(torch.utils.data.Dataset):
    def __len__(self): return len(table)
    def __getitem__(self, row):
        return hashlib.sha256(b"".join(codes.numpy().tobytes() for codes in table.tensors(row))).hexdigest()

print(*next(iter(DataLoader(Rows(), len(table), num_workers=0))))
print(*[one for batch in DataLoader(Rows(), 1, num_workers=4) for one in batch])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture
def corpus_dir(short_corpus_dir: Path) -> Path:
    return short_corpus_dir


@pytest.fixture
def store(server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The server, well again, with a cache of its own and without pauses."""
    server.faults, server.always = [], None
    server.reads.clear()
    fsspec.AbstractFileSystem.clear_instance_cache()
    for name, value in environment_of(server, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("snac_exp.system.remote.patience.time.sleep", lambda seconds: None)
    return server


@pytest.fixture
def address(store: Store, corpus_dir: Path, request: pytest.FixtureRequest) -> str:
    """The codes of the corpus in the store, each test's by itself."""
    key = hashlib.sha1(request.node.name.encode()).hexdigest()[:8]
    return store.upload(corpus_dir / "prepared" / "codes_demo", key)


def entries(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").glob("*") if path.name != "locks")


def first_loss(run: Path) -> float:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return next(line["train/loss"] for line in lines if "train/loss" in line)


def test_codes_in_a_store_train_plan_check_and_leave_as_those_here(
    tiny: list[str],  # noqa: F811
    address: str,
    corpus_dir: Path,
    tmp_path: Path,
) -> None:
    here = str(corpus_dir / "prepared" / "codes_demo")
    remote = [item if not item.startswith("data.cache_dir=") else f"data.cache_dir={address}" for item in tiny]
    assert "epoch" in verb("plan", *remote).succeeded().out
    verb("check", *remote).succeeded()
    losses = []
    for name, arguments in (("here", tiny), ("there", remote)):
        train(*arguments, *SHORT, f"output_dir={tmp_path / name}").succeeded()
        (run,) = (tmp_path / name / "tiny").iterdir()
        losses.append(first_loss(run))
    assert losses[0] == losses[1]
    stored = (run / "config.yaml").read_text()
    assert f"cache_dir: {address}" in stored
    for name, folder in (("ids_here", here), ("ids_there", address)):
        verb(
            "tokens", "export", f"cache={folder}", f"output={tmp_path / name}", "codec=demo", "format=jsonl"
        ).succeeded()
    one, other = (sorted((tmp_path / name).glob("*.jsonl")) for name in ("ids_here", "ids_there"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


@pytest.mark.parametrize("fault", ["500", "break", "short"])
def test_what_a_network_does_now_and_then_is_tried_again(
    store: Store, address: str, corpus_dir: Path, tmp_path: Path, fault: str
) -> None:
    store.faults = [fault, fault]
    done = verb("tokens", "encode", f"cache_dir={address}", f"output={tmp_path / 'npq'}", "codec=demo").succeeded()
    assert "files" in done.out
    assert store.faults == []
    (entry,) = entries(tmp_path)
    for path in (corpus_dir / "prepared" / "codes_demo").glob("codes-*.parquet"):
        assert (entry / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("fault", "said"), [("500", "500"), ("break", ""), ("short", ""), ("change", "changed 5 times")]
)
def test_what_it_does_always_is_told_in_one_error_and_nothing_half_stays(
    store: Store, address: str, tmp_path: Path, fault: str, said: str
) -> None:
    store.always = fault
    done = verb("tokens", "encode", f"cache_dir={address}", f"output={tmp_path / 'npq'}", "codec=demo")
    assert done.status == 2
    assert done.err.count("DataError: ") == 1
    assert address in done.err
    assert said in done.err
    assert entries(tmp_path) == []
    store.always = None
    if fault != "change":
        verb("tokens", "encode", f"cache_dir={address}", f"output={tmp_path / 'npq'}", "codec=demo").succeeded()


def test_two_processes_with_eight_workers_share_one_download(
    store: Store, address: str, corpus_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", READER, address]
    two = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ) for _ in range(2)]
    printed = [process.communicate()[0].decode().splitlines() for process in two]
    assert [process.returncode for process in two] == [0, 0]
    lines = {line for lines in printed for line in lines}
    assert len(lines) == 1  # both processes, with workers and without
    here = subprocess.run(
        [*command[:-1], str(corpus_dir / "prepared" / "codes_demo")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(here.stdout.splitlines()) == lines
    shards = [path.name for path in (corpus_dir / "prepared" / "codes_demo").glob("codes-*.parquet")]
    assert {path.rsplit("/", 1)[1]: num for path, num in store.reads.items()} == dict.fromkeys(shards, 1)


@pytest.mark.thorough
def test_packed_audio_in_a_store_trains_evaluates_and_is_cached_as_that_here(
    tiny: list[str],  # noqa: F811
    store: Store,
    corpus_dir: Path,
    tmp_path: Path,
) -> None:
    packed = tmp_path / "packed"
    verb("pack", f"data={corpus_dir / 'prepared'}", f"output={packed}", "shard_gb=0.005").succeeded()
    there = store.upload(packed, "packed")
    raw = [item for item in tiny if not item.startswith("data.cache_dir=")] + ["data=audio_folder"]
    losses = []
    for name, arguments in (
        ("here", [*raw, f"data.path={packed}"]),
        ("there", [*raw, f"data.path={there}"]),
        ("codes_here", tiny),
        ("codes_there", [*tiny, f"data.audio_root={there}"]),
    ):
        train(*arguments, *SHORT, f"output_dir={tmp_path / name}").succeeded()
        (run,) = (tmp_path / name / "tiny").iterdir()
        losses.append(first_loss(run))
    assert losses[0] == losses[1]
    assert losses[2] == losses[3]
    assert "output has no value" in verb("cache-codes", f"data={there}", "codec=demo").err
    verb("cache-codes", f"data={there}", "codec=demo", f"output={tmp_path / 'codes'}").succeeded()
    one, other = (pq.read_table(next(it.glob("codes-*.parquet"))).select(["path", "codes_0", "codes_2"]) for it in
                  (tmp_path / "codes", corpus_dir / "prepared" / "codes_demo"))  # fmt: skip
    assert one.equals(other)
    verb("evaluate", f"data={there}", "codec=demo", "num_utterances=1", "max_seconds=1.0", "baselines=[]",
         f"output={tmp_path / 'evaluated'}").succeeded()  # fmt: skip
    assert max(store.reads.values()) == 1


def test_what_lies_nowhere_is_told(store: Store, corpus_dir: Path, tmp_path: Path) -> None:
    store.put("prepared/manifest.parquet", (corpus_dir / "prepared" / "manifest.parquet").read_bytes())
    for folder, said in (("s3://bucket/prepared", "manifest.parquet"), ("s3://bucket/absent", "nothing at all")):
        done = verb("tokens", "encode", f"cache_dir={folder}", f"output={tmp_path / 'npq'}", "codec=demo")
        assert done.status == 2
        assert said in done.err
