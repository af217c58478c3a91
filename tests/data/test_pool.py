"""One process per device: the same cache as one process makes, and errors that say what to do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.codec.checkpoint import LoadedCodec, save_snac
from snac_exp.data.device_pool import device_names, run_on_devices
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.errors import ConfigError, DataError
from tests.data.pool_jobs import die, fail, share
from tests.helpers.commands import ROOT
from tests.helpers.waiting import until

WAIT = """
import sys
from functools import partial
from snac_exp.data.device_pool import run_on_devices
from tests.data.pool_jobs import wait

if __name__ == "__main__":
    run_on_devices(partial(wait, sys.argv[1]), ["cpu", "cpu"], 2, "test")
"""


@pytest.mark.slow
def test_every_device_has_its_process_and_errors_come_back() -> None:
    results = run_on_devices(share, ["cpu", "cpu"], 2, "test")
    assert [(number, device) for number, device, _ in results] == [(0, "cpu"), (1, "cpu")]
    assert os.getpid() not in {pid for _, _, pid in results}
    with pytest.raises(DataError, match="no such codec"):
        run_on_devices(fail, ["cpu", "cpu"], 2, "test")
    with pytest.raises(DataError, match=r"a process was killed.*run the same command again"):
        run_on_devices(die, ["cpu", "cpu"], 2, "test")


@pytest.mark.slow
def test_ctrl_c_of_the_command_alone_stops_the_work_of_every_device_and_a_second_one_ends_it(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WAIT, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    for state in ("began", "stopped"):
        until(lambda state=state: len(list(tmp_path.glob(f"* {state}"))) == 2, f"both have {state}", process)
        process.send_signal(signal.SIGINT)

    def ended() -> bool:
        process.send_signal(signal.SIGINT)  # the one before may have come while the first was being passed on
        return process.poll() is not None

    until(ended, "it has ended")
    assert process.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0 began", "0 stopped", "1 began", "1 stopped"]


def test_names_of_devices() -> None:
    assert device_names("cuda", 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert device_names("cpu", 2) == ["cpu", "cpu"]
    assert device_names("cuda:1", 1) == ["cuda:1"]
    with pytest.raises(DataError, match="write device=cuda"):
        device_names("cuda:1", 2)
    with pytest.raises(DataError, match="devices=0"):
        device_names("cpu", 0)


@pytest.mark.thorough
def test_the_verb_on_two_devices_makes_the_cache_of_one(
    corpus_dir: Path, cache_dir: Path, codec: LoadedCodec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_snac(codec.model, tmp_path / "codec")
    command = ["cache-codes", f"data={corpus_dir / 'prepared'}", "codec=demo", "codec.name=tiny0"]
    command += [f"codec.path={tmp_path / 'codec'}", "rows_per_shard=7", f"output={tmp_path / 'codes'}"]
    with pytest.raises(DataError, match="no code shards there"):
        cli.run([*command, "merge=true"])
    assert cli.run([*command, "shard.index=0", "shard.count=2"]) == 0
    assert "the same command with merge=true" in capsys.readouterr().out
    with pytest.raises(DataError, match="1 of 3 shards are missing"):
        cli.run([*command, "merge=true"])
    assert cli.run([*command, "devices=2"]) == 0
    said = capsys.readouterr().out
    assert "3 shards, 2 of them there already" in said
    assert "complete: 20 rows cached, 0 rejected, every manifest row accounted for" in said
    assert (tmp_path / "codes" / "codes.arrow").exists()
    names = [path.name for path in sorted(cache_dir.glob("codes-*.parquet"))]
    assert all((tmp_path / "codes" / name).read_bytes() == (cache_dir / name).read_bytes() for name in names)
    assert len(Manifest.read(corpus_dir / "prepared").rows) == 20
    with pytest.raises(ConfigError, match=r"shard\.index=2"):
        cli.run([*command, "shard.index=2", "shard.count=2"])
