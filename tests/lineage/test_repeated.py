"""A run that means the same as a finished one is told of, and not made a second time without being asked for."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.config.meaning.digest import NUM_DIGITS, meaning_digest
from snac_exp.lineage.meaning import note_meaning
from snac_exp.system.files import read_json, write_json, write_signed_json, write_text
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.training import train as entry
from tests.helpers.commands import train, verb
from tests.helpers.old_runs import FIXTURE

LOSS = """
from snac_exp.losses.pair import SignalPair


def quiet(pair: SignalPair):
    return (pair.prediction - pair.target).abs().mean()
"""
pytestmark = pytest.mark.slow
LINE = '{"kind": "validation", "time": 0.0, "epoch": 1, "step": 6, "val/objective": %s}\n'


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that would have begun in the background."""
    names: list[str] = []
    monkeypatch.setattr(entry, "start_detached", lambda values, _: names.append(values["name"]) or 0)
    return names


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A recipe with a loss term of the user's own, on a cache of the test's own."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_quiet.py").write_text(LOSS)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    shutil.copytree(FIXTURE / "prepared" / "codes", tmp_path / "codes")
    return [
        "+experiment=phase12_dual_head", "codec=demo", "name=repeated", "tracker=none",
        "+loss.terms.own={_target_: own_quiet.quiet, weight: 0.0}",
        f"data.cache_dir={tmp_path / 'codes'}", f"output_dir={tmp_path / 'outputs'}",
    ]  # fmt: skip


def finished(arguments: list[str]) -> RunFolder:
    """A run as it is left when it is finished."""
    folder = RunFolder.create(compose_experiment(arguments)[1], arguments)
    note_meaning(folder)
    write_json(folder.plan, {"num_steps": 6})
    write_text(folder.metrics, LINE % 0.5 + LINE % 0.25)
    folder.set_status("finished")
    return folder


def test_the_same_run_is_refused_with_its_place_and_result(arguments: list[str], begun: list[str]) -> None:
    run = finished(arguments)
    done = train(*arguments, "name=other", "trainer.num_workers=1", "background=true")
    assert (done.status, begun) == (2, [])
    assert f"{run.path}, finished after 6 steps with val/objective 0.25 at its best. See {run.report}" in done.err
    assert sorted(run.path.parents[1].rglob("*")) == sorted([run.path.parent, run.path, *run.path.iterdir()])
    assert train(*arguments, "name=other", "again=true", "background=true").status == 0
    assert begun == ["other"]
    assert "again=yes is not valid" in train(*arguments, "again=yes").err
    plan = verb("plan", *arguments, "hash=true", "format=json").succeeded().out
    digest = meaning_digest(run.values())
    assert f'"hash": "{digest[:NUM_DIGITS]}"' in plan
    assert f'"sha256": "{digest}"' in plan
    assert f'"same run": "{run.path}' in plan
    assert run.path.name.endswith(digest[:NUM_DIGITS])


def test_a_job_of_a_sweep_and_a_run_of_an_earlier_version_are_known_too(arguments: list[str], begun: list[str]) -> None:
    run = finished(arguments)
    run.meaning.unlink()
    job = run.path.parents[1] / "sweeps" / "lr" / "2026-11-28_10-00-00-abcdef" / run.path.name[-NUM_DIGITS:]
    job.parent.mkdir(parents=True)
    run.path.rename(job)
    done = train(*arguments, "background=true")
    assert (done.status, begun) == (2, [])
    assert str(job) in done.err


def other_codes(run: RunFolder, root: Path) -> None:
    first, second = sorted((root / "codes").glob("codes-*.parquet"))
    second.write_bytes(first.read_bytes())


def other_code(run: RunFolder, root: Path) -> None:
    write_text(root / "modules" / "own_quiet.py", LOSS.replace("abs", "square"))


def other_digest(run: RunFolder, root: Path) -> None:
    """Six digits that are the same by accident."""
    meaning = read_json(run.meaning)
    write_signed_json(run.meaning, meaning | {"config": meaning["config"][:NUM_DIGITS] + "0" * 58})


def failed(run: RunFolder, root: Path) -> None:
    run.set_status("failed", error="of a full disk")


def stopped(run: RunFolder, root: Path) -> None:
    run.set_status("preempted", stopped_by="SIGINT")


@pytest.mark.parametrize("change", [other_codes, other_code, other_digest, failed, stopped])
def test_another_meaning_and_a_run_that_did_not_finish_refuse_nothing(
    change: Callable[[RunFolder, Path], None], arguments: list[str], begun: list[str], tmp_path: Path
) -> None:
    change(finished(arguments), tmp_path)
    assert train(*arguments, "background=true").succeeded()
    assert begun == ["repeated"]


def test_another_seed_is_another_meaning_and_what_is_open_has_no_hash(arguments: list[str], begun: list[str]) -> None:
    finished(arguments)
    assert train(*arguments, "seed=1", "background=true").succeeded()
    assert begun == ["repeated"]
    done = verb("plan", "+experiment=phase12_dual_head", "hash=true")
    assert (done.status, "data.cache_dir has no value" in done.err) == (2, True)
