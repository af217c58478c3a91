"""`snac-exp evaluate` as a command: stopped and started, compared, refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from snac_exp import cli
from snac_exp.errors import ConfigError, DataError
from snac_exp.evaluation import evaluate
from snac_exp.evaluation.bootstrap import bootstrap_interval
from snac_exp.evaluation.folder import EvaluationFolder
from tests.helpers import markdown


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on_and_ends_the_same(
    run: Any, checkpoint: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, calls = tmp_path / "part", [0]
    whole = evaluate._done

    def interrupted(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(evaluate, "_done", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(output, f"checkpoint={checkpoint}")
    assert not (output / "files.parquet").exists()
    with open(output / "progress.jsonl", "a") as file:
        file.write('{"path": "val_a/wide2.flac", "ro')  # the line that a kill cut off
    with pytest.raises(ConfigError, match="another job"):
        run(output, f"checkpoint={checkpoint}", "seed=1")
    run(output, f"checkpoint={checkpoint}")
    assert calls[0] == 6  # two, the interrupted one, and the three that were missing
    assert (output / "files.parquet").read_bytes() == (trained / "files.parquet").read_bytes()
    assert (output / "summary.json").read_bytes() == (trained / "summary.json").read_bytes()
    assert not (output / "progress.jsonl").exists()


@pytest.mark.slow
def test_a_pretrained_codec_is_compared_with_a_checkpoint(
    run: Any, checkpoint: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, later, name = tmp_path / "demo", tmp_path / "later, again", "phase 12, it's [b](c) | <i> `d"
    run(earlier, "codec=demo")
    rows = run(later, f"checkpoint={checkpoint}", f"compare={earlier}", f"name={name}")
    found = json.loads((later / "comparison.json").read_text())
    assert (found["before"], found["after"], found["utterances"]) == ("demo", name, 5)
    before = {
        row["sha1"]: row["l1"] for row in pq.read_table(earlier / "files.parquet").to_pylist() if row["output"] == "48k"
    }
    changes = [row["l1"] - before[row["sha1"]] for row in rows if row["output"] == "48k"]
    low, high = bootstrap_interval(changes, 0)
    change = found["outputs"]["48k"]["l1"]
    assert (change["mean"], change["low95"], change["high95"]) == pytest.approx((np.mean(changes), low, high))
    assert ("l1" in found["outside"]["48k"]) == (low > 0 or high < 0)
    capsys.readouterr()
    assert cli.run(["evaluate", f"evaluation={trained}", f"compare={later}"]) == 0
    said = capsys.readouterr().out
    assert f"model.pt against {name}, 5 utterances" in said
    for text in ((later / "comparison.md").read_text(), (later / "summary.md").read_text()):
        assert markdown.acted_on(text) == set()
        assert name in markdown.blocks(text)[0][1]
    assert " better" not in said.split("better, worse:")[0]  # the same weights: no difference anywhere
    assert not (trained / "comparison.json").exists()


@pytest.mark.slow
def test_other_utterances_stop_a_comparison_before_anything_is_measured(
    run: Any, checkpoint: Path, trained: Path, tmp_path: Path
) -> None:
    part = [f"checkpoint={checkpoint}", f"compare={trained}", "num_utterances=2"]
    with pytest.raises(DataError, match="only the later has none; 2 are in both"):
        run(tmp_path / "part", *part)
    assert not (tmp_path / "part").exists()
    run(tmp_path / "part", *part, "compare_shared=true")
    assert json.loads((tmp_path / "part" / "comparison.json").read_text())["utterances"] == 2
    with pytest.raises(ConfigError, match=r"measured with other settings: max_seconds was 0\.6 and is 0\.5"):
        run(tmp_path / "other", *part, "max_seconds=0.5")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "nothing is given to evaluate"),
        (["codec=demo", "checkpoint=x"], "checkpoint and codec are given"),
        (["codec=demo"], "data has no value"),
        (["codec=demo", "data=x", "rates=[24000,44100]"], "rates="),
        (["codec=demo", "data=x", "baselines=[silence]"], "baselines="),
        (["system=interpolate", "data=x", "rates=[24000]"], "alone"),
        (["system=interpolated", "data=x"], "did you mean 'interpolate'"),
        (["codec=demo", "data=x", "num_uterances=3"], "num_utterances"),
        (["evaluation=x"], "compare=FOLDER"),
        (["codec.path=x", "data=x"], "add it, like codec=snac_24khz"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    arguments: list[str], reason: str, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [f"data={prepared}" if item == "data=x" else item for item in arguments]
    with pytest.raises(ConfigError, match=reason):
        cli.run(["evaluate", *given])


@pytest.mark.slow
def test_the_command_refuses_what_lies_there_already(run: Any, prepared: Path, trained: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    command = [sys.executable, "-m", "snac_exp.cli", "evaluate", f"data={prepared}", "system=interpolate"]
    done = subprocess.run([*command, f"output={trained}"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "finished evaluation, which is not overwritten" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before
    with pytest.raises(ConfigError, match="finished evaluation"):
        EvaluationFolder(trained, json.loads((trained / "job.json").read_text()))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        run(tmp_path, "system=interpolate")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
