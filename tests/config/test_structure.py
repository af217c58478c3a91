"""The walk over the composed config: what does not fit is named, with the nearest right name."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from snac_exp.config.schema import Component
from snac_exp.config.source_code import parameters_of
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float
    kind: Literal["floor", "round"] = "floor"


@dataclass(frozen=True)
class Outer:
    inner: Inner
    by_name: dict[str, Inner]
    span: tuple[int, int | None]
    sizes: list[int]
    limit: int | None = None


GOOD: dict[str, Any] = {"inner": {"rate": 1}, "by_name": {"a": {"rate": 2.5}}, "span": [1, None], "sizes": [4, 8]}


def test_structure_builds_nested_dataclasses_and_widens_int_to_float() -> None:
    built = structure(Outer, GOOD)
    assert built == Outer(Inner(1.0), {"a": Inner(2.5)}, (1, None), [4, 8], None)
    assert type(built.inner.rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"innr": {}}, "unknown key 'innr'; did you mean 'inner'"),
        ({"inner": {"rate": 1.0, "rte": 2}}, "unknown key 'inner.rte'; did you mean 'rate'"),
        ({"by_name": {"a": {"rat": 1.0}}}, "unknown key 'by_name.a.rat'"),
        ({"inner": {}}, "missing key 'inner.rate'"),
        ({"inner": {"rate": "5e-5x"}}, "inner.rate='5e-5x' must be of type float"),
        ({"inner": {"rate": True}}, "inner.rate=True must be of type float"),
        ({"inner": {"rate": 1.0, "kind": "flor"}}, "inner.kind='flor' is not valid; did you mean 'floor'"),
        ({"span": [1]}, "span=[1] needs 2 entries"),
        ({"sizes": 4}, "sizes=4 must be a list: sizes=[4]"),
        ({"sizes": [4.5]}, "sizes[0]=4.5 must be of type int"),
        ({"inner": 3}, "'inner' must be a group of keys"),
    ],
)
def test_structure_names_key_and_mend(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        structure(Outer, GOOD | change)
    assert message in str(caught.value)


def test_component_options_are_checked_against_the_signature_without_importing() -> None:
    target = "snac_exp.data.slices.cached_codes.CachedCodes"
    assert "cache_dir" in parameters_of(target, "data")
    assert structure(Component, {"_target_": target, "limit": 3}, "data") == Component(target, {"limit": 3})
    with pytest.raises(ConfigError, match=r"unknown key 'data\.cachedir' for .*did you mean 'cache_dir'"):
        structure(Component, {"_target_": target, "cachedir": "x"}, "data")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"limit": 3}, "'data' needs a _target_"),
        ({"_target_": "snac_exp.data.nowhere.X"}, "no module 'snac_exp.data.nowhere'"),
        ({"_target_": "snac_exp.data.slices.cached_codes.Nothing"}, "defines no 'Nothing'"),
    ],
)
def test_component_targets_that_do_not_exist_are_named(value: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        structure(Component, value, "data")
