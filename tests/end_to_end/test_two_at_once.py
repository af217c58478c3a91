"""Two commands on one output at once: the second is refused and told who holds it, and nothing is mixed."""

import os
import shutil
from pathlib import Path

import pytest

from snac_exp.errors import ConfigError
from snac_exp.release.export import folder as export_folder
from snac_exp.report.compare import folder as compare_folder
from snac_exp.system.folder_lock import locked
from tests.helpers import commands
from tests.helpers.old_runs import copied


def held_by_us(error: str, folder: Path) -> bool:
    return f"{folder} is being written by process {os.getpid()} on " in error and "; stop that first" in error


def test_a_second_resume_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    run = copied("runs/stopped", tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with locked(run):
        done = commands.train(f"resume={run}")
    assert done.status == 2
    assert held_by_us(done.err, run)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_second_prepare_and_a_second_evaluation_are_refused(corpus_dir: Path, tmp_path: Path) -> None:
    prepare = ["prepare", f"input={corpus_dir / 'audio'}", "num_workers=1"]
    evaluate = ["evaluate", f"data={corpus_dir / 'prepared'}", "codec=demo", "num_utterances=1", "max_seconds=1"]
    for name, words in (("prepared", prepare), ("evaluation", evaluate)):
        output = tmp_path / name
        if name == "prepared":
            output.mkdir()
        else:  # begun by the first
            commands.verb(*words, f"output={output}").succeeded()
            (output / "summary.json").unlink()
        with locked(output):
            done = commands.verb(*words, f"output={output}")
        assert (done.status, held_by_us(done.err, output)) == (2, True), done
        commands.verb(*words, f"output={output}").succeeded()


@pytest.mark.slow
def test_the_second_of_two_exports_or_comparisons_does_not_touch_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    def another_one_ends_first(*_: object) -> str:
        output.mkdir(exist_ok=True)
        (output / "theirs").write_text("whole")
        return "text"

    monkeypatch.setattr(export_folder, "_card", another_one_ends_first)
    done = commands.verb("export", "checkpoint=snac_exp/assets/demo_codec", "formats=[snac]", f"output={output}")
    assert done.status == 2
    assert f"another process has filled {output} meanwhile; run this command again" in done.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "theirs"]
    shutil.rmtree(output)
    monkeypatch.setattr(compare_folder, "comparison_page", another_one_ends_first)
    done = commands.verb("compare", str(copied("sweep", tmp_path)), f"output={output}")
    assert (done.status, f"output={output} already exists" in done.err) == (2, True), done.err
    assert [path.name for path in output.iterdir()] == ["theirs"]


def test_a_lock_is_free_when_its_holder_leaves(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError, match="is being written by"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
