"""The study of gain over minutes: refusals, a stopped study that goes on, subsets within each other, its verdicts."""

import importlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.slices.splits import limited
from snac_exp.evaluation.folder import Evaluation
from snac_exp.metrics.table import METRICS
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.training.saving import Saver

FOLDER = Path(__file__).parents[2] / "experiments" / "hours_to_gain"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("run", "gains", "speech"):
        monkeypatch.delitem(importlib.import_module("sys").modules, name, raising=False)
    return importlib.import_module("run")


@pytest.fixture
def command(short_corpus_dir: Path, tmp_path: Path) -> list[str]:
    """The smallest study: runs of three steps on one and two seconds of speech."""
    return [
        *(f"data={short_corpus_dir / 'prepared'}", "codec=demo", f"output={tmp_path / 'study, 1'}"),
        *("minutes=0.01,0.03", "seeds=0", "held_out=0.01", "max_steps=3", "validations=3", "batch_size=2"),
        *("segment_seconds=0.2", "num_utterances=2", "quality=", "trainer.preflight=[start]"),
    ]


@pytest.mark.slow
def test_a_stopped_study_goes_on_and_trains_nothing_twice(
    program: ModuleType, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the second run: the first is found again by what it means, the second resumed."""
    output, began = tmp_path / "study, 1", list[str]()
    train, save_best = program.train, Saver.save_best

    def noted(arguments: list[str]) -> int:
        began.append(arguments[0])
        status: int = train(arguments)
        return status

    def stopping(self: Saver, *values: Any) -> None:
        if len(began) == 2:
            signal.raise_signal(signal.SIGTERM)
        save_best(self, *values)

    monkeypatch.setattr(program, "train", noted)
    monkeypatch.setattr(Saver, "save_best", stopping)
    assert program.main(command) == 75
    assert not (output / "results.json").exists()
    assert program.main(command) == 0
    (first,), (second,) = ([*(output / "runs" / f"{it}min_seed0").iterdir()] for it in ("0.01", "0.03"))
    assert began == ["+experiment=finetune_decoder", "+experiment=finetune_decoder", f"resume={second}"]
    assert [(RunFolder(it).status() or {})["attempts"] for it in (first, second)] == [1, 2]

    found = json.loads((output / "results.json").read_text(encoding="utf-8"))
    assert [Path(item["run"]) for item in found["runs"]] == [first, second]
    assert found["utterances"] == 2
    assert found["gains"]["final"]["mel_distance"]["minutes"].keys() == {"0.01", "0.03"}
    assert found["sentences"]["best"] in (output / "results.md").read_text(encoding="utf-8")
    assert (output / "results.png").stat().st_size > 10_000

    _assert_divided(
        output, Manifest.read(tmp_path / command[0].partition("=")[2]), [it["part"] for it in found["runs"]]
    )
    # Another study in the same folder would mix what is not comparable.
    assert program.main([*command, "learning_rate=1"]) == 2
    assert len(began) == 3


def _assert_divided(output: Path, prepared: Manifest, parts: list[dict[str, Any]]) -> None:
    """What trains, what is held out and what is measured are apart, and fewer minutes are among more."""
    speech = Manifest.read(output / "speech")
    unheard = {row.path for row in prepared.rows if row.split == "validation"}
    rows = {split: {row.path for row in speech.rows if row.split == split} for split in ("train", "validation")}
    assert len(rows["train"]) + len(rows["validation"]) == len(speech.rows)
    assert all(rows.values())
    assert not unheard & {row.path for row in speech.rows}
    assert {row.speaker for row in speech.rows}.isdisjoint(row.speaker for row in prepared.rows if row.path in unheard)
    train = CodeTable.open(output / "speech" / "codes").rows_of("train")
    fewer, more = (set(limited(train, part["limit"], 0).tolist()) for part in parts)
    assert fewer < more
    assert [part["minutes"] for part in parts] == pytest.approx([1 / 60, 2 / 60])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("minutes=0.03,20", "minutes=20 is more than {data} has: 0.1 minutes to train on, beside 0.0"),
        ("minuts=1", "there is no key 'minuts'; did you mean 'minutes'?"),
        ("minutes=", "minutes must be above 0"),
        ("max_steps=many", "max_steps='many' must be of type int"),
        pytest.param("codec=none_such", "none_such", marks=pytest.mark.slow),
        pytest.param("quality=dnsmoss", "some of dnsmos", marks=pytest.mark.slow),
    ],
)
def test_what_is_not_possible_is_refused_before_anything_is_written(
    changed: str, said: str, program: ModuleType, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main([*command, changed]) == 2
    assert said.format(data=command[0].partition("=")[2]) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def rows() -> Rows:
    """Of ten utterances: mel distances about one value, STOI about another, levels about a third."""

    def made(mel: float, stoi: float, level: float = -1.0) -> list[dict[str, Any]]:
        empty = {metric.name: None for metric in METRICS} | {"speaker": "a", "output": "24k"}
        values = (
            {"sha1": str(i), "mel_distance": mel + i / 10, "stoi": stoi + i / 100, "level_db": level + i / 100}
            for i in range(10)
        )
        return [{**empty, **one} for one in values]

    return made


@pytest.mark.slow
def test_verdicts_follow_the_better_side_and_are_averaged_over_seeds(
    program: ModuleType, rows: Rows, tmp_path: Path
) -> None:
    before = Evaluation(tmp_path, {"system": {"name": "demo"}}, {}, rows(1.0, 0.5))
    part = program.Subset(3, 1.0, 2)
    # One minute: mel better in the mean of both seeds; three: mel better, STOI and level worse.
    runs = [
        program.Measured(1.0, 0, part, 50, 100, {"best": rows(0.7, 0.5), "final": rows(1.2, 0.5)}, "a"),
        program.Measured(1.0, 1, part, 100, 100, {"best": rows(1.1, 0.5), "final": rows(1.1, 0.5)}, "b"),
        program.Measured(3.0, 0, part, 100, 100, dict.fromkeys(("best", "final"), rows(0.9, 0.4, -3.0)), "c"),
    ]
    program.write_results(tmp_path, before, runs, {})
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    mel = found["gains"]["best"]["mel_distance"]
    assert mel["minutes"]["1"]["mean"] == pytest.approx(-0.1)
    assert mel["minutes"]["1"]["spread_over_seeds"] == pytest.approx(0.4 / 2**0.5)
    assert (mel["enough"], mel["worse"]) == ([1.0, 3.0], [])
    assert found["sentences"] == {
        "best": "Enough were 1 and 3 min for mel distance; no number of minutes for level and STOI. "
        "Worse than before: level (3 min) and STOI (3 min).",
        "final": "Enough were 3 min for mel distance; no number of minutes for level and STOI. "
        "Worse than before: mel distance (1 min), level (3 min) and STOI (3 min).",
    }
    assert "| 1.00 | 0 | 3 | 2 | 50 of 100 |" in (tmp_path / "results.md").read_text(encoding="utf-8")
