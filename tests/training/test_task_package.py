"""A task is the package of its name, one of a user's own too; its checks run before torch is imported."""

import subprocess
from pathlib import Path

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.config.task_package import door_of
from snac_exp.errors import ConfigError
from snac_exp.training.build import build
from tests.helpers.waiting import GUARD_SECONDS
from tests.helpers.warm import COLD

RECIPE = ["+experiment=phase12_dual_head", "data.cache_dir=/data/cache"]


@pytest.fixture
def own_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a user's package whose checks add a rule to those of the codec."""
    package = tmp_path / "lab_tasks" / "short"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "checks.py").write_text(
        "from snac_exp.errors import ConfigError\n"
        "from snac_exp.training.codec import checks as codec\n"
        "def check(experiment):\n"
        "    codec.check(experiment)\n"
        "    if experiment.trainer.batch_size > 10:\n"
        "        raise ConfigError('trainer.batch_size: this task is for short runs')\n"
    )
    (package / "build.py").write_text("def build(experiment):\n    return ('built', experiment.name)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "lab_tasks.short"


@pytest.mark.slow
def test_a_task_of_ones_own_checks_and_builds(own_task: str) -> None:
    experiment, _ = compose_experiment([*RECIPE, f"task.name={own_task}", "trainer.batch_size=10"])
    assert build(experiment) == ("built", "phase12_dual_head")
    with pytest.raises(ConfigError, match="this task is for short runs"):
        compose_experiment([*RECIPE, f"task.name={own_task}", "trainer.batch_size=11"])


def test_a_task_that_is_not_there_is_named_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"task\.name=rvqlm is no task: .*did you mean 'rvq_lm'"):
        door_of("rvqlm", "checks")


@pytest.mark.slow
def test_checks_of_every_task_import_no_torch() -> None:
    program = (
        "import sys\n"
        "from snac_exp.config.task_package import ROOM, door_of\n"
        "names = sorted(path.parent.name for path in ROOM.glob('*/build.py'))\n"
        "assert names == ['codec', 'rvq_lm'], names\n"
        "assert all(callable(door_of(name, 'checks').check) for name in names)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([COLD, "-c", program], capture_output=True, text=True, timeout=GUARD_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
