"""Files of conf/ are parsed once in a process of tests, and never known as they were before they were written again."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException


def composed(folder: Path) -> dict[str, object]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base="1.3"):
        return dict(compose("main", overrides=[]))


def test_a_file_that_is_written_again_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.yaml").write_text("value: 1\n")
    assert [composed(tmp_path)["value"] for _ in range(2)] == [1, 1]
    (tmp_path / "main.yaml").write_text("value: 2\n")  # of one size, and perhaps of one time
    assert composed(tmp_path)["value"] == 2
    monkeypatch.setattr(yaml, "load", lambda *_, **__: pytest.fail("it is parsed again"))
    assert composed(tmp_path)["value"] == 2


def test_what_one_changes_in_a_config_is_not_in_the_next(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text("group:\n  value: 1\n")
    composed(tmp_path)["group"]["value"] = 5  # type: ignore[index]
    assert composed(tmp_path)["group"] == {"value": 1}


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text("value: [1\n")
    with pytest.raises((HydraException, yaml.YAMLError), match=r"main\.yaml"):
        composed(tmp_path)
