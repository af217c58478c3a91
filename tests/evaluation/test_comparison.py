from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snac_exp.errors import ConfigError, DataError
from snac_exp.evaluation.comparison import compare, require_comparable
from snac_exp.evaluation.estimates import differences, estimates
from snac_exp.evaluation.folder import Evaluation, Row

PROTOCOL = {
    "measures_version": 1,
    "max_seconds": 30.0,
    "target_dir": None,
    "wide_band": {"min_cutoff_hz": 22500.0},
    "seed": 0,
    "missing": {},
}


def rows(values: dict[str, float | None], measure: str = "l1", output: str = "24k") -> list[Row]:
    return [
        {"path": f"{name}.wav", "sha1": name, "output": output, "rate": 24_000, measure: value}
        for name, value in values.items()
    ]


def evaluation(name: str, found: list[Row], **protocol: Any) -> Evaluation:
    settings = {"system": {"name": name}, "protocol": PROTOCOL | protocol, "versions": {"torch": "2"}, "device": "cpu"}
    return Evaluation(Path(name), settings, {}, found)


def hard_and_easy(shift: float, spread: float = 0.0) -> dict[str, float | None]:
    """30 utterances of very different difficulty; the second system differs by `shift` on each."""
    random = np.random.default_rng(0)
    return {f"u{index}": 10.0 * index + shift + spread * random.standard_normal() for index in range(30)}


def test_pairing_sees_what_independent_intervals_do_not() -> None:
    before, after = rows(hard_and_easy(0.0)), rows(hard_and_easy(-0.5, spread=0.2))
    alone = [estimates(it, seed=0)["l1"] for it in (before, after)]
    assert alone[0] is not None
    assert alone[1] is not None
    assert alone[0].low95 is not None
    assert alone[0].low95 < alone[1].mean < alone[0].mean  # far within each other's intervals
    (found,) = differences(before, after, seed=0)
    assert found.change.mean == pytest.approx(-0.5, abs=0.1)
    assert found.change.high95 is not None
    assert found.change.high95 < -0.4
    assert found.verdict == "better"


@pytest.mark.parametrize(
    ("measure", "shift", "verdict"),
    [("l1", 0.5, "worse"), ("l1", -0.5, "better"), ("stoi", 0.5, "better"), ("stoi", -0.5, "worse"), ("l1", 0.0, None)],
)
def test_the_verdict_knows_which_way_is_better(measure: str, shift: float, verdict: str | None) -> None:
    before, after = rows(hard_and_easy(0.0), measure), rows(hard_and_easy(shift, spread=0.2), measure)
    (found,) = differences(before, after, seed=0)
    assert found.verdict == verdict


def test_pairs_are_matched_by_content_and_only_where_both_are_defined() -> None:
    before = rows({"a": 1.0, "b": 2.0, "c": None, "d": 9.0})
    after = rows({"d": 8.0, "c": 5.0, "b": 4.0, "a": None})
    (found,) = differences(before, after, seed=0)
    assert (found.before, found.after, found.change.mean, found.change.num) == (5.5, 6.0, 0.5, 2)


def test_a_single_pair_shows_nothing() -> None:
    (found,) = differences(rows({"a": 1.0}), rows({"a": 5.0}), seed=0)
    assert (found.change.low95, found.change.high95, found.verdict) == (None, None, None)


def test_a_comparison_names_what_lies_outside() -> None:
    first = evaluation("first", rows(hard_and_easy(0.0)) + rows(hard_and_easy(0.0), "stoi", "48k"))
    second = evaluation("second", rows(hard_and_easy(-1.0, 0.1)) + rows(hard_and_easy(0.0, 0.1), "stoi", "48k"))
    found = compare(first, second).to_json()
    assert (found["before"], found["after"], found["utterances"]) == ("first", "second", 30)
    assert found["outside"] == {"24k": ["l1"], "48k": []}
    assert found["outputs"]["24k"]["l1"]["verdict"] == "better"
    assert compare(first, second) == compare(first, second)
    markdown = compare(first, second).markdown()
    assert "| L1 (full scale) ↓ |" in markdown
    assert "better |" in markdown


def test_other_utterances_are_named_and_shared_ones_only_on_request() -> None:
    before, after = rows(hard_and_easy(0.0)), rows(hard_and_easy(1.0))
    first, second = evaluation("first", before[:28]), evaluation("second", after[1:])
    with pytest.raises(
        DataError, match=r"earlier has u0\.wav \(1\).*later has u28\.wav, u29\.wav \(2\); 27 are in both"
    ):
        compare(first, second)
    shared = compare(first, second, shared_only=True)
    assert shared.num_utterances == 27
    (found,) = shared.outputs["24k"]
    assert (found.change.num, found.change.mean) == (27, pytest.approx(1.0))


def test_without_a_shared_utterance_nothing_can_be_compared() -> None:
    before, after = rows(hard_and_easy(0.0)), rows(hard_and_easy(1.0))
    with pytest.raises(DataError, match="no utterance in common"):
        compare(evaluation("a", before[:10]), evaluation("b", after[10:]), shared_only=True)


def test_without_a_shared_output_nothing_can_be_compared() -> None:
    with pytest.raises(DataError, match="none is in both"):
        compare(evaluation("a", rows({"u": 1.0})), evaluation("b", rows({"u": 1.0}, output="48k")))


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_seconds", 10.0), ("target_dir", "x"), ("wide_band", {"min_cutoff_hz": 16000.0}), ("measures_version", 2)],
)
def test_other_protocols_are_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"measured with other settings: {key} was"):
        require_comparable(
            evaluation("a", rows({"u": 1.0}), **{key: value}), PROTOCOL, {"u": "u.wav"}, shared_only=True
        )


def test_what_else_differs_is_said() -> None:
    first, second = evaluation("a", rows({"u": 1.0})), evaluation("b", rows({"u": 1.0}), seed=1)
    second.settings["versions"] = {"torch": "3"}
    notes = "\n".join(compare(first, second).notes)
    assert "other seed" in notes
    assert "other versions: {'torch': '2'} then, {'torch': '3'} now" in notes
