"""The YAML files themselves: every line explained, every choice composes."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from snac_exp.config.compose import compose_config, compose_experiment, config_dir, resolved
from snac_exp.config.schema import Experiment
from snac_exp.verbs.discovery import verb_files as verbs
from tests.helpers.commands import verb
from tests.helpers.warm import COLD

FILES = sorted(config_dir().rglob("*.yaml"))
GROUPS = (
    *("codec", "heads", "init", "curriculum", "lr", "loss", "data", "task", "trainer", "checkpoint", "tracker"),
    *("augment", "lm", "adversary", "alerts", "start", "quantizer"),
)
EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((config_dir() / group).glob("*.yaml"))]
LAYOUTS = sorted(path.stem for path in (config_dir() / "layout").glob("*.yaml"))  # of a verb, not of a recipe
CHOSEN = {
    pair
    for name in EXPERIMENTS
    for pair in re.findall(
        r"override /(\w+): (\w+)", (config_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    )
}
GOLDEN = {path.stem for path in (Path(__file__).parents[1] / "fixtures" / "golden_configs").glob("*.yaml")}
RECIPE_OF = {  # choices that fit only another recipe than phase 12, or need company
    "residual": ["phase12_dual_head", "heads=dual_residual"],
    "gain": ["phase12_dual_head", "data=audio_folder"],
    "dual_residual": ["phase12_dual_head", "init=residual"],
    "mixture_tokens": ["rvq_toy"],
    "phase12_large": ["phase12_dual_head", "curriculum=phase12_large", "lr=phase12_large"],
    "on_data": ["demo_codec"],
    "scratch_demo": ["snac_from_scratch"],
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(config_dir()).as_posix())
def test_every_line_has_a_comment(path: Path) -> None:
    lines = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    bare = [line for line in lines if " #" not in line and line.strip() != "defaults:"]
    assert bare == []
    assert path.read_text(encoding="utf-8").startswith("#"), "a file opens with what it is for"


def test_the_groups_are_those_of_the_schema() -> None:
    assert set(GROUPS) <= {path.name for path in config_dir().iterdir() if path.is_dir()}
    assert set(GROUPS) <= set(Experiment.__dataclass_fields__)


@pytest.mark.slow
@pytest.mark.thorough  # each has a golden config, which tests/config/test_golden_configs.py composes
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_sets_every_group(name: str) -> None:
    experiment, values = compose_experiment([f"+experiment={name}"], complete=False)
    assert set(values) == set(Experiment.__dataclass_fields__)
    assert experiment.name == name
    assert experiment.heads or experiment.lm is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "choice"),
    [pair for pair in CHOICES if pair not in CHOSEN and "choice_{}_{}".format(*pair) not in GOLDEN],
)
def test_every_choice_that_no_experiment_makes_composes_with_the_recipe_it_is_made_for(group: str, choice: str) -> None:
    recipe, *partners = RECIPE_OF.get(choice, ["phase12_dual_head"])
    partners = [item for item in partners if not item.startswith(f"{group}=")]
    _, values = compose_experiment([f"+experiment={recipe}", f"{group}={choice}", *partners], complete=False)
    assert set(values) == set(Experiment.__dataclass_fields__)


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


@cache
def _of_base(group: str, base: str) -> dict[str, Any]:
    """Values of a choice by dotted key, with those of its own bases."""
    return _leaves(resolved(compose_config(f"{group}/{base}", []), complete=False)[group])


@pytest.mark.slow
@pytest.mark.parametrize(("group", "choice"), [*CHOICES, *(("layout", name) for name in LAYOUTS)])
def test_a_choice_with_a_base_says_only_what_differs_from_it(group: str, choice: str) -> None:
    own = OmegaConf.to_container(OmegaConf.load(config_dir() / group / f"{choice}.yaml"))
    assert isinstance(own, dict)
    bases = [item for item in own.pop("defaults", []) if isinstance(item, str) and item != "_self_"]
    for base in bases:
        inherited = _of_base(group, base)
        repeated = {key: value for key, value in _leaves(own).items() if inherited.get(key, "absent") == value}
        assert repeated == {}, f"conf/{group}/{choice}.yaml repeats what conf/{group}/{base}.yaml says"


@pytest.mark.slow
def test_without_arguments_training_is_the_demo() -> None:
    assert compose_experiment([]) == compose_experiment(["+experiment=demo"])


def _with_bases(name: str) -> str:
    """The text of an experiment and of those it builds on."""
    text = (config_dir() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    return text + "".join(
        _with_bases(base) for base in re.findall(r"^  - (?!_self_|override )(\w+) ", text, re.MULTILINE)
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_names_its_codec_and_data_and_opens_with_its_command(name: str) -> None:
    text = _with_bases(name)
    assert "override /codec:" in text
    assert "override /data:" in text
    assert text.splitlines()[1].startswith(f"# python train.py +experiment={name}")
    assert "launcher" not in text


@pytest.mark.parametrize("name", verbs())
def test_every_verb_has_help_and_a_main(name: str) -> None:
    tree = ast.parse(verbs()[name].read_text(encoding="utf-8"))
    assert "usage: snac-exp" in (ast.get_docstring(tree) or "")
    assert "usage: snac-exp" in verb(name.replace("_", "-"), "--help").succeeded().out


@pytest.mark.slow
def test_help_and_config_errors_do_not_import_torch() -> None:
    program = (
        "import sys; from snac_exp.verbs.training.train import main; code = main(sys.argv[1:]); "
        "assert not {'torch', 'numpy'} & set(sys.modules); sys.exit(code)"
    )
    for arguments, code in (
        (["--help"], 0),
        (["--cfg", "job"], 0),
        (["+typo=1"], 2),
        (["lr.phases.main.epochs=[3,4]"], 2),
    ):
        done = subprocess.run([COLD, "-c", program, *arguments], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
