"""What a config may call: classes of this package and of one's own modules, of the kind that the key wants."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from snac_exp import cli
from snac_exp.config.schema import Component, LossTerm
from snac_exp.config.structure import structure
from snac_exp.config.task_package import door_of
from snac_exp.config.trusted_code import is_own_file
from snac_exp.errors import ConfigError
from snac_exp.sweeps.launcher import open_backend
from snac_exp.verbs.training.train import main
from tests.helpers.variants import thorough

RUN_V1 = Path(__file__).parents[1] / "fixtures" / "run_v1" / "runs" / "stopped"
STRANGERS = ("subprocess.getoutput", "os.system", "shutil.rmtree", "torch.hub.load", "pip._internal.main.main")


@pytest.mark.parametrize("target", STRANGERS)
def test_nothing_of_python_or_of_an_installed_package_is_a_component(target: str) -> None:
    with pytest.raises(ConfigError, match=r"data.*(may only name classes of|there is no module|defines no)"):
        structure(Component, {"_target_": target}, "data")
    with pytest.raises(ConfigError, match=r"loss\.terms\.mine"):
        structure(LossTerm, {"weight": 1.0, "_target_": target}, "loss.terms.mine")


def test_a_name_that_a_module_of_ones_own_imports_is_a_strangers_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_with_imports.py").write_text("from subprocess import Popen\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="subprocess belongs to Python"):
        structure(Component, {"_target_": "lab_with_imports.Popen"}, "data")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["heads.head_48k", *thorough("data", "loss.terms.mine")])
@pytest.mark.parametrize(
    "component",
    [
        {"_target_": "subprocess.getoutput", "cmd": "touch MARK"},
        {"_target_": "snac_exp.system.files.write_text", "path": "MARK", "text": "was here"},
    ],
    ids=["of Python", "of this package"],
)
@pytest.mark.parametrize("verb", ["resume", "doctor", "report", "export"])
def test_a_strangers_run_folder_runs_nothing(
    verb: str, key: str, component: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, run = tmp_path / "mark", tmp_path / "run"
    shutil.copytree(RUN_V1, run)
    path = run / "config.yaml"
    config = OmegaConf.create(path.read_text().replace("@ROOT@", str(tmp_path)))
    own = {name: value.replace("MARK", str(mark)) for name, value in component.items()}
    OmegaConf.update(config, key, own | ({"weight": 1.0} if key.startswith("loss") else {}), merge=False)
    OmegaConf.save(config, path)
    commands = {
        "resume": lambda: main([f"resume={run}"]),
        "doctor": lambda: cli.run(["doctor", str(run)]),
        "report": lambda: cli.run(["report", str(run)]),
        "export": lambda: cli.run(["export", f"checkpoint={run}", f"output={tmp_path / 'out'}"]),
    }
    status = commands[verb]()
    said = capsys.readouterr().err
    assert not mark.exists()
    assert "Traceback" not in said
    if verb == "resume":
        assert status == 2
        assert key in said


@pytest.mark.parametrize("target", ["subprocess.Popen", "snac_exp.system.files.replace_file"])
def test_a_sweeps_backend_is_a_backend(target: str) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher"):
        open_backend({"target": target, "parameters": {}})


def test_a_task_is_a_package_of_ones_own() -> None:
    with pytest.raises(ConfigError, match=r"task\.name=json"):
        door_of("json.tool", "checks")


def test_ones_own_module_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab_of_mine.py").write_text("class Source:\n    def __init__(self, root: str) -> None: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = structure(Component, {"_target_": "lab_of_mine.Source", "root": "here"}, "data")
    assert found.options == {"root": "here"}


@given(st.sampled_from(["site-packages", "dist-packages"]), st.lists(st.sampled_from("abc"), min_size=1))
def test_installed_files_are_nobodys_own(installed: str, names: list[str]) -> None:
    assert not is_own_file(Path("/opt/lib", installed, *names))
    assert is_own_file(Path("/home/me", *names))
