"""Paths of any spelling survive Hydra's grammar."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from snac_exp.config.arguments import hydra_overrides, quoted
from snac_exp.errors import ConfigError

PARSER = OverridesParser.create()


def read_back(override: str) -> object:
    """The value as a composed config would hold it."""
    return OmegaConf.create({"value": PARSER.parse_override(override).value()}).value


@given(st.text(alphabet="ab/ ,='\"\\${}~[]():;#%&éعω日", min_size=1, max_size=12).filter(lambda text: text[0] != "~"))
def test_quoted_paths_come_back_as_they_were(path: str) -> None:
    assert read_back(f"input={quoted(path)}") == path


def test_a_leading_tilde_is_the_home_folder() -> None:
    assert read_back(f"input={quoted('~/x y')}") == str(Path("~/x y").expanduser())


@pytest.mark.parametrize(
    ("argument", "override"),
    [
        ("data.cache_dir=/a b,c", "data.cache_dir='/a b,c'"),
        ("+input=x=y", "+input='x=y'"),
        ("data.cache_dir='/a b'", "data.cache_dir='/a b'"),
        ("data.target_dir=null", "data.target_dir=null"),
        ("lr.phases.main.groups.trunk=2e-5", "lr.phases.main.groups.trunk=2e-5"),
        ("~tracker", "~tracker"),
    ],
)
def test_only_values_of_path_keys_are_quoted(argument: str, override: str) -> None:
    assert hydra_overrides([argument]) == [override]


def test_an_argument_without_equals_is_refused() -> None:
    with pytest.raises(ConfigError, match="'phase12' is no key=value"):
        hydra_overrides(["phase12"])
