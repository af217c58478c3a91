"""One training with all trackers at once, killed and resumed."""

import json
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from recipe import CLIP, recipe, run_dir

from tests.helpers.commands import Done, python_process
from tests.helpers.shared import shared_folder

DRIVER = Path(__file__).parents[1] / "end_to_end" / "driver.py"
SHORT = [
    *CLIP,
    "trainer.max_steps_per_epoch=2",
    "tracker.mode=offline",
    "tracker.artifacts=best",
    "tracker.tags=[pilot]",
]
SECRETS = {"WANDB_API_KEY": 5 * "0a1b2c3d", "HF_TOKEN": "hf_" + 4 * "Pl4nt3d"}
TRACKIO = "trackio"  # trackio's folder, beside the runs


@pytest.fixture(scope="session")
def killed_and_resumed(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps in each of four epochs, checkpoints at steps 2, 3, 4, 6 and 8; killed after step 5.

    One for all test processes: not to be changed by tests.
    """

    def make(output: Path) -> None:
        mirrors = [f"tracker.{name}={find_spec(name) is not None}" for name in ("tensorboard", "trackio")]
        killed = train(output, str(DRIVER), "step=5", *recipe(corpus_dir, output), *SHORT, *mirrors)
        assert killed.status == -signal.SIGKILL, killed.err
        folder = run_dir(output)
        assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()][-1] == 5
        train(output, "train.py", f"resume={folder}").succeeded()

    return run_dir(shared_folder(tmp_path_factory, "run with all trackers", make))


def train(output: Path, *arguments: str) -> Done:
    """Training as a child of a process that has a W&B service of its own, which is none of the child's business."""
    environment = {"WANDB_SERVICE": "3-1-unix-/nowhere", "TRACKIO_DIR": str(output / TRACKIO), "HF_HUB_OFFLINE": "1"}
    return python_process(*arguments, environment={**environment, **SECRETS})
