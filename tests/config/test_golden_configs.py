"""Recipes compose to the very configs they composed to when their golden file was written, and mean the same.

Every file of tests/fixtures/golden_configs/ holds the arguments, the resolved values with sorted keys, and their
meaning hash. A file that is missing is written by `python tests/config/test_golden_configs.py`; one that is there is
never written again. A config that changes on purpose has its golden deleted first: then the change is seen in a diff.
A recipe must have a golden; a new choice of a group may have one.
"""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from snac_exp.config.compose import compose_experiment, config_dir
from snac_exp.config.meaning.digest import meaning_hash
from snac_exp.config.moved import modern

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden_configs"
EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
GROUPS = (
    *("codec", "heads", "init", "curriculum", "lr", "loss", "data", "augment", "adversary", "lm", "task", "trainer"),
    *("checkpoint", "tracker", "alerts", "start", "quantizer"),
)
PARTNERS = {  # choices that fit only another recipe than phase 12, or need company
    "init=residual": ["+experiment=phase12_dual_head", "heads=dual_residual"],
    "heads=dual_residual": ["+experiment=phase12_dual_head", "init=residual"],
    "augment=gain": ["+experiment=phase12_dual_head", "data=audio_folder", "data.path=/data/prepared"],
    "data=mixture_tokens": ["+experiment=rvq_toy"],
    "curriculum=phase12_large": ["+experiment=phase12_dual_head", "lr=phase12_large"],
    "codec=scratch_demo": ["+experiment=snac_from_scratch"],
    "start=on_data": ["+experiment=demo_codec", "start=on_data"],
    "lr=phase12_large": ["+experiment=phase12_dual_head", "curriculum=phase12_large"],
}
VARIANTS = {  # what people change most, beside the choices that no experiment makes
    "codec_demo": ["+experiment=phase12_dual_head", "codec=demo"],
    "adversary_dac": ["+experiment=phase12_dual_head", "adversary=dac"],
    "own_numbers": ["+experiment=phase12_dual_head", "lr.phases.main.groups.trunk=2e-5", "seed=3", "data.limit=100"],
    "own_stages": ["+experiment=phase12_dual_head", "~curriculum.stages.d", "lr.phases.main.epochs=[2,6]"],
    "own_terms": ["+experiment=phase12_dual_head", "loss.terms.stft_magnitude=1.0", "loss.weights.head_24k=0.1"],
    "devices": ["+experiment=phase11_standard", "trainer.devices=4", "trainer.accumulation=2", "trainer.ema_decay=0.9"],
    "raw_audio": ["+experiment=phase12_dual_head", "data=audio_folder", "data.path=/data/prepared"],
    "tokens_of_a_cache": ["+experiment=rvq_run2_big", "codec=demo", "data=code_cache_tokens"],
    "toy_delayed": ["+experiment=rvq_toy", "lm.pattern=delay", "data.frames=repeated"],
    "scratch_init": ["+experiment=phase12_dual_head", "init=random", "init_from=/data/run"],
}
# A path of the machine is in a resolved config where a recipe has a relative one: here it has none.
SPOKEN = ("data=demo_speech", "demo", "demo_codec", "start=on_data")
PLACES = dict.fromkeys(SPOKEN, "data.directory=/data/demo")


def cases() -> dict[str, list[str]]:
    """Arguments by name of the golden: experiments, choices that none of them makes, variants, sweeps, debug."""
    made = {
        pair
        for name in EXPERIMENTS
        for pair in re.findall(r"override /(\w+): (\w+)", (config_dir() / "experiment" / f"{name}.yaml").read_text())
    }
    others = {
        f"{group}={path.stem}"
        for group in GROUPS
        for path in sorted((config_dir() / group).glob("*.yaml"))
        if (group, path.stem) not in made
    }
    found = {f"experiment_{name}": _placed(name, [f"+experiment={name}"]) for name in EXPERIMENTS}
    for choice in sorted(others):
        partners = PARTNERS.get(choice, ["+experiment=phase12_dual_head"])
        found[f"choice_{choice.replace('=', '_')}"] = _placed(choice, [*partners, choice])
    found |= {f"variant_{name}": arguments for name, arguments in VARIANTS.items()}
    for path in sorted((config_dir() / "sweep").glob("*.yaml")):
        found[f"sweep_{path.stem}"] = ["+experiment=phase12_dual_head", *_last_job(path)]
    for path in sorted((config_dir() / "debug").glob("*.yaml")):
        found[f"debug_{path.stem}"] = ["+experiment=phase12_dual_head", f"+debug={path.stem}"]
    return found


def _placed(name: str, arguments: list[str]) -> list[str]:
    return [*arguments, *([PLACES[name]] if name in PLACES else [])]


def _last_job(sweep: Path) -> list[str]:
    """Overrides of the last job of a grid, or of the upper corner of a search."""
    params = yaml.safe_load(sweep.read_text(encoding="utf-8"))["hydra"]["sweeper"]["params"]
    return [f"{key}={re.findall(r'[^,() ]+', str(values))[-1]}" for key, values in params.items()]


CASES = cases()
STORED = sorted(path.stem for path in GOLDEN.glob("*.yaml"))


def golden_text(name: str) -> str:
    """The golden of a case as it would be written now."""
    _, values = compose_experiment(CASES[name], complete=False)
    content = {"arguments": CASES[name], "hash": meaning_hash(values), "values": values}
    return yaml.safe_dump(content, sort_keys=True, default_flow_style=None, width=120)


def as_now(golden: dict[str, Any]) -> dict[str, Any]:
    """A golden's values in today's form, with the names under which classes lie now."""
    return modern(golden["values"])


def stored(name: str) -> dict[str, Any]:
    content = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.mark.slow
@pytest.mark.parametrize("name", STORED)
def test_a_recipe_composes_to_its_golden_and_its_hash_is_what_it_was(name: str) -> None:
    """Also where a class has moved since: hashes are taken over first names."""
    golden = stored(name)
    _, values = compose_experiment(golden["arguments"], complete=False)
    assert yaml.safe_dump(values, sort_keys=True) == yaml.safe_dump(as_now(golden), sort_keys=True)
    assert meaning_hash(golden["values"]) == golden["hash"]
    assert meaning_hash(values) == golden["hash"]
    assert CASES[name] == golden["arguments"]


def test_every_recipe_has_a_golden() -> None:
    """Write those that are missing with: python tests/config/test_golden_configs.py"""
    assert {f"experiment_{name}" for name in EXPERIMENTS} <= set(STORED)
    assert len(STORED) >= 44


def test_every_golden_belongs_to_a_case_and_to_no_machine() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(STORED)
    assert set(STORED) <= set(CASES)
    paths = chain.from_iterable(re.findall(r"(?<![\w.])/\w+", path.read_text()) for path in GOLDEN.iterdir())
    assert set(paths) == {"/data"}


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in sorted(CASES):
        if not (GOLDEN / f"{case}.yaml").exists():
            (GOLDEN / f"{case}.yaml").write_text(golden_text(case), encoding="utf-8")
            print(f"written: {case}")
