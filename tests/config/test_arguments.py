"""Paths of any spelling survive Hydra's grammar."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from snac_exp.config.arguments import hydra_overrides, listed_paths, quoted
from snac_exp.errors import ConfigError

PARSER = OverridesParser.create()


def read_back(override: str) -> object:
    """The value as a composed config would hold it."""
    return OmegaConf.create({"value": PARSER.parse_override(override).value()}).value


@pytest.mark.slow
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
    with pytest.raises(ConfigError, match=r"'phase12' is no key=value; write key=phase12.*needs quotes, 'key=a b'"):
        hydra_overrides(["phase12"])
    with pytest.raises(ConfigError, match="keys have no dashes: input=VALUE"):
        hydra_overrides(["--input", "speech"])


def swept(argument: str) -> list[str]:
    """The values that Hydra makes of an argument in a sweep."""
    parsed = PARSER.parse_override(hydra_overrides([argument], sweeping=True)[0])
    texts = list(parsed.sweep_string_iterator()) if parsed.is_sweep_override() else [parsed.get_value_element_as_str()]
    return [str(read_back(f"x={text}")) for text in texts]


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("/a,/b", ["/a", "/b"]),
        ("/it's,/b 'c'", ["/it's", "/b 'c'"]),
        ("'/a,1','/b'", ["/a,1", "/b"]),
        ("'/a,1',/b", ["/a,1", "/b"]),
        ('/b,"/a,1"', ["/b", "/a,1"]),
        ("'/a,b'", ["/a,b"]),
        ("choice(/a, /b)", ["/a", "/b"]),
        ("~/a,/b", [str(Path("~/a").expanduser()), "/b"]),
        ("/only", ["/only"]),
    ],
)
def test_in_a_sweep_commas_separate_paths(value: str, paths: list[str]) -> None:
    assert swept(f"data.cache_dir={value}") == paths


def test_in_a_sweep_a_path_that_is_there_is_one_path(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    assert swept(f"data.cache_dir={tmp_path}/a,b") == [f"{tmp_path}/a,b"]
    assert swept(f"data.cache_dir={tmp_path}/a,c") == [f"{tmp_path}/a", "c"]
    assert swept("output_dir=/not/yet,there") == ["/not/yet,there"]
    assert hydra_overrides(["data.cache_dir=/a,/b"]) == ["data.cache_dir='/a,/b'"]  # no sweep, no list


@pytest.mark.parametrize("value", ["/a,,/b", "/a,", ",/a"])
def test_an_empty_path_in_a_list_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="empty path between its commas"):
        swept(f"data.cache_dir={value}")


@pytest.mark.slow
@given(st.lists(st.text(alphabet="ab/ ='\\${}[]():%é日", min_size=1, max_size=8), min_size=2, max_size=4))
def test_any_paths_without_commas_can_be_listed(paths: list[str]) -> None:
    paths = [f"/{path.strip()}/x" for path in paths]
    assert [str(read_back(f"x={quoted(path)}")) for path in listed_paths(",".join(paths))] == paths
