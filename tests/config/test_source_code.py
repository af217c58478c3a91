"""Options of a class follow its bases, as Python would build it, without importing anything."""

import subprocess
from pathlib import Path

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.config.source_code import declared_set, parameters_of
from snac_exp.errors import ConfigError
from tests.helpers.waiting import GUARD_SECONDS
from tests.helpers.warm import COLD

CACHED_CODES = "snac_exp.data.slices.cached_codes.CachedCodes"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's package `lab` on the path; importing it fails, so that a check that imports is seen."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def names(target: str) -> list[str]:
    return list(parameters_of(target, "data"))


@pytest.mark.slow
def test_a_source_of_ones_own_has_the_options_of_its_base(package: Path) -> None:
    (package / "sources.py").write_text(
        "from dataclasses import dataclass, field\n"
        "from typing import ClassVar\n"
        "from snac_exp.data.slices.cached_codes import CachedCodes\n"
        "class Plain(CachedCodes):\n    pass\n"
        "@dataclass(frozen=True)\n"
        "class More(CachedCodes):\n"
        "    seen: ClassVar[int] = 0\n"
        "    made: int = field(init=False, default=1)\n"
        "    speakers: int = 4\n"
        "    limit: int = 3\n"
    )
    inherited = names(CACHED_CODES)
    assert names("lab.sources.Plain") == inherited
    assert names("lab.sources.More") == [*inherited, "speakers"]
    assert parameters_of("lab.sources.More", "data")["limit"] == "int"  # of the base it was int | None
    overrides = ["+experiment=phase12_dual_head", "data._target_=lab.sources.More", "+data.speakers=2", "data.limit=5"]
    experiment, _ = compose_experiment([*overrides, "data.cache_dir=/data/cache"], complete=False)
    assert experiment.data.options["cache_dir"] == "/data/cache"
    assert experiment.data.options["speakers"] == 2
    with pytest.raises(ConfigError, match=r"unknown key 'data\.speaker'.*did you mean 'speakers'"):
        compose_experiment([*overrides, "+data.speaker=2"], complete=False)


@pytest.mark.slow
def test_arguments_follow_keywords_relative_imports_aliases_stars_and_generics(package: Path) -> None:
    (package / "base.py").write_text(
        "from typing import Generic, TypeVar\n"
        "T = TypeVar('T')\n"
        "class Root(Generic[T]):\n    def __init__(self, root: int, shared: str) -> None: ...\n"
        "class Keyed(Root[int]):\n    def __init__(self, key: int, shared: int, **kwargs: int) -> None: ...\n"
        "def made(one: int, two=2, *, three=3): ...\n"
    )
    (package / "front.py").write_text("from .base import *\n")
    (package / "mine.py").write_text(
        "import lab.base\n"
        "import lab.base as other\n"
        "from . import front\n"
        "try:\n    from lab.front import Keyed as Renamed\nexcept ImportError:\n    Renamed = None\n"
        "class A(lab.base.Keyed): ...\n"
        "class B(other.Root[str]): ...\n"
        "class C(front.Keyed): ...\n"
        "class D(Renamed): ...\n"
        "class E(int): ...\n"
    )
    for name in "ACD":
        assert parameters_of(f"lab.mine.{name}", "data") == {"key": "int", "shared": "int", "root": "int"}
    assert names("lab.mine.B") == ["root", "shared"]
    assert names("lab.mine.E") == []
    assert names("lab.base.made") == ["one", "two", "three"]
    assert names("lab.front.Keyed") == ["key", "shared", "root"]  # imported by that module, not defined in it


def test_of_several_bases_the_one_that_python_would_take_counts(package: Path) -> None:
    (package / "diamond.py").write_text(
        "class Top:\n    provides = {'audio'}\n    def __init__(self, top): ...\n"
        "class Left(Top): ...\n"
        "class Right(Top):\n    provides = frozenset({'codes', 'audio'})\n    def __init__(self, right): ...\n"
        "class Both(Left, Right): ...\n"
    )
    assert names("lab.diamond.Both") == ["right"]
    assert declared_set("lab.diamond.Both", "provides", "data") == {"codes", "audio"}
    assert declared_set("lab.diamond.Left", "provides", "data") == {"audio"}


def test_a_declared_set_is_constant_or_absent(package: Path) -> None:
    (package / "sets.py").write_text(
        "from typing import ClassVar\n"
        "class Typed:\n    provides: ClassVar[frozenset[str]] = frozenset({'tokens'})\n"
        "class Empty(Typed):\n    provides = frozenset()\n"
        "class Silent:\n    provides: ClassVar[frozenset[str]]\n"
        "class Computed:\n    provides = frozenset(name for name in 'ab')\n"
    )
    assert declared_set("lab.sets.Typed", "provides", "data") == {"tokens"}
    assert declared_set("lab.sets.Empty", "provides", "data") == frozenset()
    assert declared_set("lab.sets.Silent", "provides", "data") is None
    with pytest.raises(ConfigError, match=r"data: lab\.sets\.Computed\.provides must be a constant set of strings"):
        declared_set("lab.sets.Computed", "provides", "data")


@pytest.mark.slow
def test_bases_out_of_torch_are_read_without_importing_it() -> None:
    script = (
        "import sys\n"
        "from snac_exp.config.source_code import find_definition, parameters_of, with_bases\n"
        "assert list(parameters_of('snac_exp.codec.heads.ResidualHead', 'heads')) == ['codec', 'noise']\n"
        "head = find_definition('snac_exp.codec.heads.ResidualHead', 'heads')\n"
        "line = [item.node.name for item in with_bases(head)]\n"
        "assert line[:4] == ['ResidualHead', 'UpsampleHead', 'Head', 'Module'], line\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([COLD, "-c", script], capture_output=True, text=True, timeout=GUARD_SECONDS)
    assert done.returncode == 0, done.stderr
