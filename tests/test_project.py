"""What a public project states about itself is one statement: licence, version, changelog, continuous integration."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

from snac_exp import __version__

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["project"]["license"] == "MIT"
    (name,) = PROJECT["project"]["license-files"]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.startswith("MIT License\n")
    assert re.search(r"^Copyright \(c\) 20\d\d the snac_exp authors$", text, re.MULTILINE)


@pytest.mark.slow
def test_the_version_stands_in_one_place_and_is_told() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "snac_exp/__init__.py"
    assert metadata("snac_exp")["Version"] == __version__
    done = subprocess.run([sys.executable, "-m", "snac_exp.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"snac_exp {__version__}\n")


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert __version__ in headings


def test_continuous_integration_runs_the_command_of_the_readme() -> None:
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make test", "make thorough"]
    assert "://" not in text  # where packages come from is the installer's matter
    python = next(step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", ""))
    assert python == "3.11"
