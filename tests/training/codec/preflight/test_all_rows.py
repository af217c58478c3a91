"""snac-exp check rows=all looks at every row, goes on after a kill, and ends with 2 where a row is bad."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp.data.codes.table import CodeTable
from snac_exp.training.codec.preflight import all_rows_record
from tests.campaigns.mutations import mutation
from tests.helpers.commands import Done, python_process, verb

Damage = Callable[..., None]
KILLED_AFTER = 9  # rows


def arguments(corpus_dir: Path, tmp_path: Path, *more: str) -> list[str]:
    return [
        "check", "+experiment=phase12_dual_head", "codec=demo", f"data.cache_dir={corpus_dir / 'prepared/codes_demo'}",
        f"output_dir={tmp_path / 'out'}", *more,
    ]  # fmt: skip


def check(corpus_dir: Path, tmp_path: Path, *more: str) -> Done:
    return verb(*arguments(corpus_dir, tmp_path, "rows=all", *more))


@pytest.fixture
def targets(corpus_dir: Path, tmp_path: Path) -> Path:
    """The sources, two of the training rows 5 ms late and one that is no audio."""
    table = CodeTable.open(corpus_dir / "prepared/codes_demo")
    root, folder = Path(table.spec.audio_root), tmp_path / "targets"
    rows = table.rows_of("train").tolist()
    for number, path in enumerate(table.paths.to_pylist()):
        samples, rate = soundfile.read(root / path, dtype="float32")
        if number in (rows[2], rows[12]):
            samples = np.concatenate([np.zeros(rate // 200, np.float32), samples[: -rate // 200]])
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, samples, rate)
        if number == rows[4]:
            (folder / path).write_bytes(b"no audio")
    return folder


@pytest.mark.slow
def test_a_true_cache_passes_row_by_row(corpus_dir: Path, tmp_path: Path) -> None:
    done = check(corpus_dir, tmp_path, "trainer.preflight=[codes]").succeeded()
    assert re.search(r"^train codes: no row is bad \(all 19 rows\)$", done.out, re.MULTILINE)
    assert re.search(r"^validation codes: no row is bad \(all 6 rows\)$", done.out, re.MULTILINE)
    assert "all checks passed" in done.out
    assert "objective: head_24k, head_48k with l1 and stft_complex alone may fall silent" in done.out
    assert re.search(r"train codes: 19/19 0 bad, about \d+ s left", done.err)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["other audio", "two rows"])
def test_bad_codes_are_counted_and_named(
    damage: str, corpus_dir: Path, tmp_path: Path, damaged: Damage, swapped: Damage
) -> None:
    if damage == "two rows":
        swapped()
        num, cause = 2, "its codes are stored for"
    else:
        rng = np.random.default_rng(0)
        damaged(lambda codes, _: rng.permutation(codes), lambda table: table.rows_of("train")[[3]])
        num, cause = 1, "its codes are of other audio, or damaged"
    done = check(corpus_dir, tmp_path, "trainer.preflight=[codes]")
    assert done.status == 2
    assert f"train codes: {num} of 19 rows are bad ({num / 19:.2%}) (all 19 rows)" in done.out
    assert cause in done.out
    assert f"bad rows: {num}; " in done.out


@pytest.mark.slow
def test_a_row_that_cannot_be_read_is_a_bad_row_and_ends_nothing(
    corpus_dir: Path, tmp_path: Path, targets: Path
) -> None:
    done = check(corpus_dir, tmp_path, f"data.target_dir={targets}", "trainer.preflight=[targets]")
    assert done.status == 2
    assert "train targets of head_48k: 3 of 19 rows are bad (15.79%) (all 19 rows)" in done.out
    worst, *late = done.out.split("(all 19 rows)\n")[1].splitlines()[:3]
    assert "not readable as audio" in worst
    assert all("its target is +5.0 ms late" in line for line in late)
    assert "validation targets of head_48k: no row is bad (all 6 rows)" in done.out


@pytest.mark.slow
def test_single_tokens_that_differ_everywhere_are_bad_too(corpus_dir: Path, tmp_path: Path, damaged: Damage) -> None:
    def every_tenth(codes: np.ndarray, stride: int) -> np.ndarray:
        return np.where(np.arange(len(codes)) % 10 == 0, codes ^ 1, codes)

    damaged(every_tenth, lambda table: table.rows_of("train"))
    done = check(corpus_dir, tmp_path, "trainer.preflight=[codes]")
    assert done.status == 2
    assert "train codes: no row is bad" in done.out
    assert re.search(r"only (89|90)\.\d+% of all tokens are reproduced \(99% expected\)", done.out)


@pytest.mark.thorough
def test_a_killed_check_goes_on_where_it_was(corpus_dir: Path, tmp_path: Path, targets: Path) -> None:
    given = arguments(
        corpus_dir, tmp_path, "rows=all", f"data.target_dir={targets}", "trainer.preflight=[codes,targets]"
    )
    code = (
        "import os, signal, sys\nfrom snac_exp import cli\n"
        "from snac_exp.training.codec.preflight.all_rows_record import RowRecord\n"
        "write, rows = RowRecord.write, []\n"
        "def killed(self, found):\n    write(self, found); rows.append(found)\n"
        f"    if len(rows) == {KILLED_AFTER}:\n"
        '        self._file.write(b\'{"split": "tr\'); self._file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n'
        "RowRecord.write = killed\nsys.exit(cli.run(sys.argv[1:]))"
    )
    assert python_process("-c", code, *given).status == -signal.SIGKILL
    whole = verb(*given[:-3], f"output_dir={tmp_path / 'other'}", *given[-3:])
    done = verb(*given)
    known = f", {KILLED_AFTER} known from before"
    assert f"train codes: no row is bad (all 19 rows{known})" in done.out
    assert done.status == whole.status == 2

    def found(folder: str) -> list[dict[str, object]]:
        (record,) = (tmp_path / folder / "checks").iterdir()
        assert record.name.endswith("-finished.jsonl")
        return [json.loads(line) for line in record.read_text().splitlines()]

    assert found("out") == found("other")
    assert len(found("out")) == 50
    assert (
        done.out.replace(known, "").split("train codes:")[1].replace("/out/", "/other/")
        == (whole.out.split("train codes:")[1])
    )
    assert "known from before" not in verb(*given).out  # a finished check begins anew


def test_rows_that_were_bad_are_looked_at_again(tmp_path: Path) -> None:
    good = all_rows_record.CheckedRow("train", "codes", 0, "a", 1.0)
    bad = all_rows_record.CheckedRow("train", "codes", 1, "b", 0.1, "why")
    with all_rows_record.RowRecord.open(tmp_path, ["x"]) as record:
        record.write(good)
        record.write(bad)
    with all_rows_record.RowRecord.open(tmp_path, ["x"]) as record:
        assert record.good("train", "codes") == {0: 1.0}
        assert record.good("validation", "codes") == {}
    with all_rows_record.RowRecord.open(tmp_path, ["y"]) as record:  # other data
        assert record.good("train", "codes") == {}


def test_a_damaged_line_of_the_record_costs_looking_at_its_row_again(tmp_path: Path) -> None:
    rows = {row: row / 10 for row in range(8)}
    with all_rows_record.RowRecord.open(tmp_path, ["x"]) as record:
        for row, score in rows.items():
            record.write(all_rows_record.CheckedRow("train", "codes", row, f"{row}.wav", score))
    (path,) = tmp_path.iterdir()
    written = path.read_bytes()
    for number in range(60):
        path.write_bytes(mutation(written, 0, number))
        with all_rows_record.RowRecord.open(tmp_path, ["x"]) as record:
            assert record.good("train", "codes").items() <= rows.items(), number


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["+experiment=phase12_dual_head", "rows=some"], "choose one of: rows=sample, rows=all"),
        (["+experiment=rvq_toy", "codec=demo", "rows=all"], "of codec recipes"),
    ],
)
def test_what_is_not_possible_is_said(given: list[str], reason: str, corpus_dir: Path) -> None:
    tokens = ["data=code_cache_tokens", f"data.cache_dir={corpus_dir / 'prepared/codes_demo'}"]
    done = verb("check", *given, *(tokens if "rvq" in given[0] else []))
    assert done.status == 2
    assert reason in done.err
