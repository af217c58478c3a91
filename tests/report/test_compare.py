"""Runs side by side: order, differences with their intervals, configs, sound, and the files that are written."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from snac_exp import cli
from snac_exp.config.seeding import generator
from snac_exp.errors import ConfigError, DataError
from snac_exp.evaluation.utterance_rows import read_utterances, write_utterances
from snac_exp.report.charts.parallel import parallel, short_names
from snac_exp.report.compare.comparison import ComparisonSettings, Source, compare
from snac_exp.report.compare.markdown_table import Slot
from snac_exp.report.compare.text import markdown, markdown_table
from snac_exp.tracking.run_folder import RunFolder
from tests.report.folders import TRACEBACK, make_run, summary

MINUS = "\N{MINUS SIGN}"
LSD = "head_48k/lsd_high_db"
FILES = [(f"speaker/{index:02d}.wav", 1.0 + index) for index in range(30)]


def scores(shift: float, seed: int) -> list[float]:
    """One value per utterance: what is hard is hard for every run."""
    hardness = np.random.default_rng(0).normal(9.0, 2.0, len(FILES))
    return [float(value) for value in hardness + shift + np.random.default_rng(seed).normal(0.0, 0.2, len(FILES))]


def measured(path: Path, values: list[float], **options: object) -> Source:
    """A run whose summary is the mean of what is known utterance by utterance."""
    metrics = summary() | {LSD: float(np.mean(values))}
    for end in ("_low95", "_high95"):
        del metrics[LSD + end]
    make_run(path, summary=metrics, **options)  # type: ignore[arg-type]
    write_utterances(path, FILES, {LSD: values, "baseline/stoi": [None, *values[1:]]})
    return Source(path, path.name)


def bootstrap(values: list[float], seed: int) -> tuple[float, float]:
    """The percentile bootstrap written out: 2000 draws of as many utterances with replacement."""
    array = np.array(values)
    draws = generator(seed, "bootstrap").integers(len(array), size=(2000, len(array)))
    low, high = np.quantile([array[draw].mean() for draw in draws], (0.025, 0.975))
    return float(low), float(high)


def test_utterances_come_back(tmp_path: Path) -> None:
    write_utterances(tmp_path, FILES[:2], {"a/b/x": [1.0, None], "c/y": [2.0, 3.0]})
    assert read_utterances(tmp_path) == {
        "a/b/x": {("speaker/00.wav", 1.0): 1.0},
        "c/y": {("speaker/00.wav", 1.0): 2.0, ("speaker/01.wav", 2.0): 3.0},
    }
    table = pq.read_table(RunFolder(tmp_path).utterances)
    assert table.column_names == ["utterance", "seconds", "candidate", "x", "y"]
    assert table.num_rows == 4
    (RunFolder(tmp_path).utterances).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"utterances\.parquet: not a readable .*; remove it, or copy it again"):
        read_utterances(tmp_path)
    assert read_utterances(tmp_path / "nowhere") == {}


def test_differences_are_paired(tmp_path: Path) -> None:
    ours, theirs = scores(-0.4, 1), scores(0.0, 2)
    sources = [measured(tmp_path / "base", theirs), measured(tmp_path / "ours", ours)]
    found = compare(sources, ComparisonSettings(metric=LSD, seed=3))
    best, base = found.entries
    assert (best.label, base.label, found.goal) == ("ours", "base", "minimize")
    assert base.delta is None
    assert best.value == pytest.approx(np.mean(ours))
    assert best.interval == pytest.approx(bootstrap(ours, 3))
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    assert best.delta is not None
    assert best.delta.mean == pytest.approx(np.mean(differences))
    assert (best.delta.low95, best.delta.high95) == pytest.approx(bootstrap(differences, 3))
    assert best.delta.excludes_zero
    assert best.interval[0] < base.value < best.interval[1]  # type: ignore[index, operator]  # unpaired it would not show
    assert found.num_paired == 30


def test_only_common_utterances_count(tmp_path: Path) -> None:
    base = measured(tmp_path / "base", scores(0.0, 1))
    ours = measured(tmp_path / "ours", scores(0.5, 1))
    # Of the other run: ten utterances, the first of another length under the same name, so another utterance.
    files = [("speaker/00.wav", 99.0), *FILES[1:10]]
    write_utterances(ours.path, files, {LSD: scores(0.5, 1)[:10]})
    delta = compare([base, ours], ComparisonSettings(metric=LSD)).entries[1].delta
    assert delta is not None
    assert (delta.num, delta.mean) == (9, pytest.approx(0.5))


def test_without_utterances_there_is_no_interval(tmp_path: Path) -> None:
    sources = [Source(make_run(tmp_path / name, seed=seed), name) for name, seed in (("a", 5), ("b", 2), ("c", 8))]
    found = compare(sources, ComparisonSettings())
    assert found.metric == "val/objective"
    assert [(entry.label, entry.value) for entry in found.entries] == [("b", 2.2), ("a", 2.5), ("c", 2.8)]
    deltas = [entry.delta and (round(entry.delta.mean, 6), entry.delta.low95) for entry in found.entries]
    assert deltas == [(-0.3, None), None, (0.3, None)]
    assert "without intervals" in markdown_table(found)


def test_goal_metric_and_baseline(tmp_path: Path) -> None:
    sources = [
        Source(make_run(tmp_path / name, summary=summary(lsd), clips=0), name) for name, lsd in (("a", 6.0), ("b", 7.0))
    ]
    assert compare(sources, ComparisonSettings()).metric == LSD
    stoi = compare(sources, ComparisonSettings(metric="head_48k/stoi", baseline="2"))
    assert (stoi.goal, stoi.baseline.label) == ("maximize", "b")
    assert [entry.label for entry in compare(sources, ComparisonSettings(goal="maximize")).entries] == ["b", "a"]
    assert compare(sources, ComparisonSettings(baseline=str(tmp_path / "b"))).baseline.label == "b"
    for question, message in (
        (ComparisonSettings(metric="head_48k/stoj"), "no run has the metric.*did you mean 'head_48k/stoi'"),
        (ComparisonSettings(metric="count/utterances"), "Set goal=minimize or goal=maximize"),
        (ComparisonSettings(baseline="3"), "baseline=3 is none of the 2 runs"),
        (ComparisonSettings(columns=("head_24k/l2",)), "no run has the column.*did you mean 'head_24k/l1'"),
    ):
        with pytest.raises(ConfigError, match=message):
            compare(sources, question)
    with pytest.raises(ConfigError, match="two runs or more, not 1"):
        compare(sources[:1], ComparisonSettings())


def sweep(tmp_path: Path) -> Path:
    """Four jobs over two keys, one of them failed, with the ledger of a sweep."""
    folder = tmp_path / "sweep, with odd name"
    rows = []
    for job, (trunk, seed) in enumerate(((5e-5, 1), (1e-4, 1), (5e-5, 2), (1e-4, 2))):
        failed = job == 1
        config = {"lr": {"phases": {"main": {"groups": {"trunk": trunk, "head_48k": 1e-3}}}}}
        status = {"state": "failed", "error": TRACEBACK} if failed else {}
        metrics = None if failed else summary(6.0 + trunk * 1e4 + seed / 10)
        make_run(folder / f"job{job}", config=config, status=status, summary=metrics, seed=seed, clips=2)
        rows.append({
            "job": job, "hash": f"job{job}", "overrides": [f"lr.phases.main.groups.trunk={trunk}", f"seed={seed}"],
            "run_dir": f"job{job}", "state": "failed" if failed else "finished", "attempts": 1,
            "error": TRACEBACK.strip().splitlines()[-1] if failed else None,
        })  # fmt: skip
    question = {"name": "lr", "metric": LSD, "goal": "minimize", "question": "How fast may the trunk move?"}
    summary_values = {"question": question, "backend": {}, "directory": str(tmp_path), "command": []}
    (folder / "sweep.json").write_text(json.dumps(summary_values))
    (folder / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.slow
def test_a_sweep_stands_for_its_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "it's, a=note.md"
    before = "# Study\r\n\nText | kept.\n<!-- compare: lr -->\nold\n<!-- /compare -->\nEnd.\n"
    readme.write_bytes(before.encode())
    output = tmp_path / "out"
    arguments = [str(sweep(tmp_path)), f"output={output}", f"update={readme}", "baseline=trunk=5e-5 seed=2"]
    assert cli.run(["compare", *arguments]) == 0
    printed = capsys.readouterr().out
    table = (output / "comparison.md").read_text()
    assert [line.split(" | ")[1] for line in table.splitlines() if line.startswith("| ") and "dB" not in line][1:5] == [
        "**trunk=5e-5 seed=1**", "trunk=5e-5 seed=2 (baseline)", "trunk=1e-4 seed=2", "trunk=1e-4 seed=1 (failed)"
    ]  # fmt: skip
    assert f"| 6.600 (6.10 to 7.10) | {MINUS}0.100 |" in table
    assert "How fast may the trunk move?" in table
    assert "trunk=1e-4 seed=1: failed. snac_exp.errors.DivergenceError: step 5 of epoch 1" in table
    assert "&lt;b>bold" in table
    written = readme.read_bytes().decode()
    start, end = before.split("old\n")
    assert written.startswith(start.rstrip("\n") + "\n\n|  | run |")
    assert written.endswith("\n\n" + end)
    assert all(line in printed for line in written.splitlines() if line.startswith("| 1 |"))
    rows = pq.read_table(output / "comparison.parquet").to_pylist()
    assert [(row["run"], row["value"], row["delta"] and round(row["delta"], 6), row["state"]) for row in rows] == [
        ("trunk=5e-5 seed=1", 6.6, -0.1, "finished"),
        ("trunk=5e-5 seed=2", 6.7, None, "finished"),
        ("trunk=1e-4 seed=2", 7.2, 0.5, "finished"),
        ("trunk=1e-4 seed=1", None, None, "failed"),
    ]
    assert rows[2]["config.lr.phases.main.groups.trunk"] == "1e-4"
    assert rows[3]["error"].startswith("snac_exp.errors.DivergenceError")
    assert {row["is_baseline"] for row in rows if row["run"] == "trunk=5e-5 seed=2"} == {True}
    page = (output / "comparison.html").read_text()
    assert "How fast may the trunk move?" in page
    with pytest.raises(ConfigError, match="already exists and is not overwritten"):
        cli.run(["compare", *arguments])


@pytest.mark.slow
def test_arguments_that_are_no_folders(tmp_path: Path, run_dir: Path) -> None:
    for arguments, message in (
        ([], "which runs"),
        ([str(run_dir)], "two runs or more, not 1"),
        ([str(run_dir), str(run_dir)], "two runs or more, not 1"),
        ([str(run_dir), str(tmp_path / "none")], "there is no folder"),
        ([str(run_dir), "metrics=x"], "there is no key 'metrics'.*did you mean 'metric'"),
        ([str(run_dir), "goal=minimise"], "did you mean 'minimize'"),
        ([str(run_dir), f"update={tmp_path / 'README.md'}"], "there is no such file"),
    ):
        with pytest.raises(ConfigError, match=message):
            cli.run(["compare", *arguments, f"output={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("nothing", None, "it has no markers; put the lines <!-- compare: NAME -->"),
        ("<!-- compare: a --> x <!-- compare: b --> <!-- /compare -->", None, "it has <!-- compare: a -->, <!-- comp"),
        ("<!-- compare: a --> x <!-- compare: b --> <!-- /compare -->", "a", "is not closed"),
        ("<!-- compare: a --> x", "a", "is not closed"),
        ("<!-- compare: a --><!-- /compare --><!-- compare: a --><!-- /compare -->", "a", "one place for the table"),
        ("<!-- compare: a --><!-- /compare -->", "b", "one place for the table is needed"),
    ],
)
def test_a_file_without_one_place_is_refused_and_kept(
    tmp_path: Path, text: str, name: str | None, message: str
) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Slot(path, name)
    assert path.read_text() == text


def test_a_place_is_filled_again_and_again(tmp_path: Path) -> None:
    path, link = tmp_path / "README.md", tmp_path / "link.md"
    path.write_text("<!-- compare: a --><!-- /compare --> between <!-- compare: b -->old<!-- /compare -->")
    link.symlink_to(path)
    for table in ("one", "two"):
        Slot(link, "b").fill(table)
    assert path.read_text() == (
        "<!-- compare: a --><!-- /compare --> between <!-- compare: b -->\n\ntwo\n\n<!-- /compare -->"
    )
    assert link.is_symlink()


def test_markdown_survives_hostile_labels(tmp_path: Path) -> None:
    sources = [Source(make_run(tmp_path / name, clips=0), f"a\\|b\n<!-- /compare --> {name}") for name in "xy"]
    lines = markdown(compare(sources, ComparisonSettings())).splitlines()
    row = next(line for line in lines if line.startswith("| 1 |"))
    assert row.count("|") - row.count("\\|") == markdown_table(compare(sources, ComparisonSettings())).splitlines()[
        1
    ].count("|")
    assert "\\\\\\|b &lt;!-- /compare" in row
    assert "<!--" not in "".join(lines)


def test_lines_of_parallel_coordinates(tmp_path: Path) -> None:
    sources = [
        Source(
            make_run(tmp_path / str(index), config={"lr": {"rate": rate}, "init": {"name": init}}, seed=index, clips=0),
            str(index),
            varied=(f"lr.rate={rate}",),
        )
        for index, (rate, init) in enumerate(((1e-5, "first"), (1e-4, "average"), (1e-3, "first")))
    ]
    picture = parallel(compare(sources, ComparisonSettings()))
    assert picture is not None
    rate, init, seed, outcome = picture.axes
    assert [axis.name for axis in picture.axes] == ["rate", "init.name", "seed", "val/objective"]
    assert (rate.is_log, seed.is_log) == (True, False)
    assert [(round(tick.place, 6), tick.label) for tick in rate.ticks] == [(5, "1e-5"), (50, "1e-4"), (95, "1e-3")]
    assert [tick.label for tick in init.ticks] == ["first", "average"]
    assert [(tick.place, tick.label) for tick in outcome.ticks] == [(95, "2.000"), (5, "2.200")]
    best, middle, last = picture.run_lines
    assert (best.is_best, best.label, best.tint) == (True, "0", "c1")
    assert best.path.startswith("M0 950.0C")  # the lowest rate
    assert best.path.endswith(" 1000 50.0")  # and the best outcome, at the top
    assert [run_line.end for run_line in (best, middle, last)] == [95, 50, 5]
    assert parallel(compare(sources[:2], ComparisonSettings())) is None
    assert short_names(["a.b.c", "a.d.c", "x.name"]) == {"a.b.c": "b.c", "a.d.c": "d.c", "x.name": "x.name"}


def test_runs_of_an_earlier_protocol_are_named(tmp_path: Path) -> None:
    old, new = summary(6.0), summary(7.0) | {"count/native_high_band": 4.0}
    sources = [Source(make_run(tmp_path / name, summary=it, clips=0), name) for name, it in (("a", old), ("b", new))]
    assert "Of a stoi and lsd_high_db were measured by an earlier protocol" in markdown_table(
        compare(sources, ComparisonSettings())
    )
    same = [Source(make_run(tmp_path / name, summary=old, clips=0), name) for name in ("c", "d")]
    assert "earlier protocol" not in markdown_table(compare(same, ComparisonSettings()))
