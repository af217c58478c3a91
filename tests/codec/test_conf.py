import inspect
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from snac_exp.codec import init
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.compose import compose_config, compose_experiment, resolved
from snac_exp.config.schema import Codec
from snac_exp.config.structure import structure

CONF = Path(__file__).parents[2] / "conf"


def _read(group: str) -> dict[str, dict]:
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF / group).glob("*.yaml"))}


@pytest.mark.parametrize(
    ("name", "coarse_hop", "coarse_step"),
    [("snac_24khz", 2048, 1), ("snac_32khz", 3072, 4), ("snac_44khz", 3072, 4), ("demo", 2048, 1)],
)
def test_s01_declared_geometries(name, coarse_hop, coarse_step):
    codec = structure(Codec, resolved(compose_config(f"codec/{name}", []))["codec"])
    assert codec.name == name
    geometry = Geometry.from_declared(codec.geometry)
    assert (geometry.coarse_hop, geometry.coarse_step) == (coarse_hop, coarse_step)


@pytest.mark.parametrize("group", ["codec", "heads", "init"])
def test_every_line_says_what_it_does(group):
    for path in (CONF / group).glob("*.yaml"):
        for line in path.read_text().splitlines():
            assert "#" in line, f"{path}: {line}"


def test_every_init_is_a_function_and_has_a_file():
    functions = [function for _, function in inspect.getmembers(init, inspect.isfunction)]
    own = {function.__name__ for function in functions if function.__module__ == init.__name__}
    public = {name for name in own if not name.startswith("_")}
    files = _read("init")
    assert files.pop("none") is None  # for models without heads
    assert {values["name"] for values in files.values()} == set(files) == public


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["dual", "wideband", "native", "dual_residual"])
def test_every_choice_of_heads_composes_and_builds(choice, small):
    init_name = "residual" if choice == "dual_residual" else "average"
    alone = ["lr.phases.warmup.groups.head_24k=1e-5", "loss.phases.warmup.head_24k=1.0"] if choice == "native" else []
    experiment, _ = compose_experiment([f"heads={choice}", f"init={init_name}", *alone])
    factories = {}
    for name, part in experiment.heads.items():
        module, _, class_name = part.target.rpartition(".")
        factories[name] = partial(getattr(import_module(module), class_name), **part.options)
    rates = {"head_24k": 24000, "head_48k": 48000}
    expected = {"wideband": ["head_48k"], "native": ["head_24k"]}.get(choice, ["head_24k", "head_48k"])
    assert MultiRateSnac.from_codec(small, factories).rates == {name: rates[name] for name in expected}
