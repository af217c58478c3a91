"""The mutator damages what it is given, the same way every time, and the outcomes are told apart."""

import random
from pathlib import Path

import pytest

from snac_exp.errors import DataError
from tests.campaigns.mutations import (
    CAMPAIGN,
    KINDS,
    REFUSED,
    SAME,
    UNNAMED,
    WRONG,
    harmless,
    mutate,
    mutation,
    survives,
)

DATA = bytes(range(1, 200))


def test_every_kind_of_damage_comes_and_changes_the_data() -> None:
    found = [mutation(DATA, 7, number) for number in range(200)]
    assert found == [mutation(DATA, 7, number) for number in range(200)]
    assert DATA not in found
    assert {len(item) > len(DATA) for item in found} == {len(item) < len(DATA) for item in found} == {True, False}
    for kind in KINDS:
        assert any(kind(DATA, random.Random(seed)) != DATA for seed in range(10))
    assert all(mutate(b"x", random.Random(seed)) != b"x" for seed in range(50))
    assert any(sorted(item) == sorted(DATA) for item in found), "two blocks swapped"


def test_outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CAMPAIGN, raising=False)
    path = tmp_path / "file"
    path.write_bytes(DATA)
    stamp = path.stat().st_mtime_ns

    def checked(path: Path) -> bytes:
        if path.read_bytes() != DATA:
            raise DataError(f"{path} is damaged")
        return DATA

    def vague(path: Path) -> bytes:
        raise DataError("something is damaged")

    def broken(path: Path) -> bytes:
        return bytes([path.read_bytes()[1000]])

    assert survives(checked, path, DATA, 0, 20) == {REFUSED: 20}
    assert survives(lambda path: DATA, path, DATA, 0, 20) == {SAME: 20}
    assert survives(lambda path: path.read_bytes(), path, DATA, 0, 20) == {WRONG: 20}
    assert survives(vague, path, DATA, 0, 20) == {UNNAMED: 20}
    assert survives(broken, path, DATA, 0, 20) == {"builtins.IndexError: index out of range": 20}
    assert [harmless(survives(each, path, DATA, 0, 5)) for each in (checked, vague, broken)] == [True, False, False]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (DATA, stamp)
