"""`train.py -m`: every job is composed and proved before anything is submitted."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from snac_exp.config.arguments import hydra_overrides
from snac_exp.errors import ConfigError
from snac_exp.sweeps import local_pool as pool
from snac_exp.sweeps.jobs import JobChecker
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.multirun import multirun
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking import run_folder
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.training.train import main
from tests.helpers.variants import thorough
from tests.helpers.warm import COLD

ROOT = Path(__file__).parents[2]


@pytest.fixture
def submissions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sweep, list[Row]]]:
    """What the backend was given; nothing runs."""
    seen: list[tuple[Sweep, list[Row]]] = []

    def submit(self: pool.Pool, sweep: Sweep, rows: Sequence[Row], *, wait: bool) -> None:
        seen.append((sweep, list(rows)))

    monkeypatch.setattr(pool.Pool, "submit", submit)
    return seen


Submissions = list[tuple[Sweep, list[Row]]]


@pytest.mark.slow
def test_a_dry_run_prints_the_jobs_and_makes_nothing(
    tiny: list[str], submissions: Submissions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert multirun(["-m", *tiny, "+sweep=lr", "tracker.tags=choice([/a])", "dry_run=true"]) == 0
    text = capsys.readouterr().out
    assert text.count("tracker.tags=[/a]") == 6  # no markup of the terminal
    assert "lr.phases.main.groups.trunk=2e-05" in text
    # 6 jobs of 2 epochs of 3 steps of 4 segments; 0.2 s hold two coarse tokens of 2048 samples
    assert "│ all │" in text
    assert " 36 │" in text
    assert f"{6 * 2 * 3 * 4 * 2 * 2048 / 24000 / 3600:.3g}" in text
    assert submissions == []
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_folders_ledger_and_snapshot_are_there_before_anything_is_submitted(
    tiny: list[str], submissions: Submissions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert multirun(["-m", *tiny, "seed=1,2"]) == 1  # nothing ran, so nothing finished
    assert "0 of 2 jobs finished" in capsys.readouterr().out
    (sweep, rows), *others = submissions
    assert not others
    assert sweep.path.parent == tmp_path / "outputs/sweeps/tiny"
    assert [row.overrides for row in rows] == [["seed=1"], ["seed=2"]]
    for row, seed in zip(rows, (1, 2), strict=True):
        text = (sweep.run_dir(row) / "config.yaml").read_text()
        assert f"\nseed: {seed}\n" in text
        assert sweep.run_dir(row).name == row.hash
    assert (sweep.code / "conf/train.yaml").read_bytes() == (ROOT / "conf/train.yaml").read_bytes()
    assert (sweep.code / "snac_exp/verbs/training/train.py").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["seed=1,2", "lr=phase12,phase13"], r"job 1 \(seed=1 lr=phase13\): there is no file conf/lr/phase13.yaml"),
        (["trainer.grad_clip=1.0,-1.0"], r"job 1 \(trainer.grad_clip=-1.0\): .* must be greater than 0"),
        (["data.limit=5,6", "data.cache_dir=/nowhere"], r"job 0 \(data.limit=5\): .*/nowhere"),
        (["trainer.num_threads=1,2"], "job 0 .* and job 1 .* are the same job"),
        (["seed=1,2", "hydra/launcher=submitit_slurm"], "none of this program's.*slurm"),
        (["seed=1,2", "hydra.launcher.processes=many"], "hydra.launcher.processes='many' must be of type int"),
        (["seed=1,2", "dry_run=maybe"], "dry_run=true, dry_run=false"),
    ],
)
def test_one_bad_job_stops_the_sweep(
    extra: list[str], message: str, tiny: list[str], submissions: Submissions, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        multirun(["-m", *tiny, *extra])
    assert submissions == []
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_paths_and_their_metric_can_be_swept(tiny: list[str], submissions: Submissions, tmp_path: Path) -> None:
    cache = next(item for item in tiny if item.startswith("data.cache_dir=")).partition("=")[2]
    (tmp_path / "other codes").symlink_to(cache)
    both = [item if not item.startswith("data.cache_dir=") else f"{item},{tmp_path}/other codes" for item in tiny]
    with pytest.raises(ConfigError, match="codes"):  # the first one has a comma in its name: quotes keep it whole
        multirun(["-m", *both])
    quoted = [item.replace(cache, "'" + cache.replace("'", "\\'") + "'") for item in both]
    assert multirun(["-m", *quoted, "sweep.metric=val/head_24k/objective", "sweep.goal=maximize"]) == 1
    ((sweep, rows),) = submissions
    stored = [RunFolder.open(sweep.run_dir(row)).values()["data"]["cache_dir"] for row in rows]
    assert stored == [cache, f"{tmp_path}/other codes"]
    assert (sweep.settings.metric, sweep.settings.goal) == ("val/head_24k/objective", "maximize")


@pytest.mark.parametrize(
    "override",
    [
        *("hydra/launcher=slurm", "hydra.launcher.processes=2", "hydra/sweeper=random", "+sweep=lr", "sweep=lr"),
        *("sweep.metric=val/x", "seed=1,2", "seed=range(1,3)", "codec=demo,snac_24khz", "data.limit=choice(1,2)"),
    ],
)
def test_what_only_a_sweep_has_is_refused_without_m(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([override]) == 2
    text = capsys.readouterr().err
    assert f"a sweep is started with: python train.py -m {override} …" in text
    assert "did you mean" not in text


def test_a_list_and_a_text_with_a_comma_are_no_sweep() -> None:
    from snac_exp.config.compose import compose_experiment

    experiment, _ = compose_experiment(["tracker.tags=[a,b]", "tracker.project='a,b'"])
    assert (experiment.tracker.tags, experiment.tracker.project) == (["a", "b"], "a,b")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf/sweep").glob("*.yaml")))
def test_named_sweeps_say_what_they_compare(name: str) -> None:
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/sweep/{name}.yaml"))
    assert set(values) == {"sweep", "hydra"}  # whatever else stood here would not reach the jobs
    assert values["sweep"]["name"] == name
    assert values["sweep"]["metric"].startswith("val/")
    assert len(next(iter(values["hydra"]["sweeper"]["params"].values())).split(",")) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_jobs", "extra"),
    [
        ("init", 3, []),
        ("lr_search", 5, ["hydra/sweeper=random", "hydra.sweeper.num_jobs=5"]),
        *thorough(("lr", 6, []), ("curriculum", 2, []), ("loss_weights", 3, [])),
    ],
)
def test_named_sweeps_are_proved_on_the_main_recipe(
    name: str, num_jobs: int, extra: list[str], tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = [item for item in tiny if item.startswith("data.cache_dir=")]
    recipe = ["+experiment=phase12_dual_head", "codec=demo", *data, f"+sweep={name}", *extra, "dry_run=true"]
    assert multirun(["-m", *recipe]) == 0
    jobs = [line for line in capsys.readouterr().out.splitlines() if "│     15 │" in line]
    assert len(jobs) == num_jobs


@pytest.mark.slow
def test_two_launches_in_one_second_get_two_folders(
    tiny: list[str], submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder.time, "strftime", lambda _: "2026-11-21_10-15-02")
    for _ in range(2):
        multirun(["-m", *tiny, "again=true"])
    first, second = (sweep.path.name for sweep, _ in submissions)
    assert second == f"{first}-2"


@pytest.mark.slow
def test_the_hash_of_a_job_knows_what_it_means_not_where_it_runs(tiny: list[str]) -> None:
    checker = JobChecker()
    plain = checker.check(0, hydra_overrides(tiny), []).hash
    same = ["trainer.num_workers=2", "trainer.num_threads=2", "trainer.log_every_steps=7", "output_dir=elsewhere"]
    assert checker.check(1, hydra_overrides([*tiny, *same, "name=other", "tracker.tags=[x]"]), []).hash == plain
    for change in ("seed=3", "lr.phases.main.groups.trunk=1e-6", "trainer.batch_size=1", "data.limit=7"):
        assert checker.check(2, hydra_overrides([*tiny, change]), []).hash != plain


def test_every_launcher_file_fits_its_backend() -> None:
    from dataclasses import fields

    from omegaconf import OmegaConf

    from snac_exp.sweeps.slurm import Slurm

    for name, backend in (("one_by_one", pool.Pool), ("local_processes", pool.Pool), ("slurm", Slurm)):
        keys = set(OmegaConf.load(ROOT / f"conf/hydra/launcher/{name}.yaml"))  # type: ignore[call-overload]
        assert keys - {"_target_", "defaults"} == {item.name for item in fields(backend) if item.init}


@pytest.mark.thorough
def test_random_search_draws_the_same_jobs_for_the_same_seed(
    tiny: list[str], submissions: Submissions, tmp_path: Path
) -> None:
    drawn = ["lr.phases.main.groups.trunk=tag(log,interval(1e-5,1e-3))", "init=average,first", "data.limit=range(5,9)"]
    chosen = ["hydra/sweeper=random", "hydra.sweeper.num_jobs=2", "again=true"]
    for seed in (1, 1, 2):
        multirun(["-m", *tiny, *drawn, *chosen, f"hydra.sweeper.seed={seed}"])
    jobs = [[row.overrides for row in rows] for _, rows in submissions]
    assert jobs[0] == jobs[1] != jobs[2]
    rates = [float(overrides[0].partition("=")[2]) for overrides in jobs[0]]
    assert len(set(rates)) == 2
    assert all(1e-5 <= rate <= 1e-3 for rate in rates)
    assert {overrides[1] for overrides in jobs[0]} <= {"init=average", "init=first"}


@pytest.mark.slow
def test_importing_the_plugins_does_not_import_torch() -> None:
    code = "import hydra_plugins.snac_exp.launchers, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([COLD, "-c", code], cwd=ROOT, check=False).returncode == 0
