"""The preflight's damage table, through the commands a user gives: what is refused, why, and what passes."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp import cli
from snac_exp.data.codes.table import CodeTable
from snac_exp.errors import DataError, PreflightError
from snac_exp.training.codec.preflight.rows import needed_rows, share_interval
from snac_exp.training.codec.preflight.targets import RATE, measure_delay
from snac_exp.verbs.training.train import main as train
from tests.helpers.variants import thorough

Damage = Callable[..., None]


@pytest.fixture(scope="module", params=["demo", *thorough("real")])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder with its code cache: demo speech, and real speech where there is some."""
    if request.param == "demo":
        folder: Path = request.getfixturevalue("corpus_dir") / "prepared"
        return folder
    speech = tmp_path_factory.mktemp("real speech")
    files = sorted((request.getfixturevalue("shared_data") / "speech48k").rglob("*.flac"))[::9]
    for file in files:
        (speech / file.parent.name).mkdir(exist_ok=True)
        (speech / file.parent.name / file.name).symlink_to(file)
    folder = tmp_path_factory.mktemp("real") / "prepared"
    assert cli.run(["prepare", f"input={speech}", f"output={folder}", "num_workers=1"]) == 0
    assert cli.run(["cache-codes", f"data={folder}", "codec=demo"]) == 0
    return folder


def check(prepared: Path, *more: str) -> int:
    return cli.run(
        ["check", "+experiment=phase12_dual_head", "codec=demo", f"data.cache_dir={prepared / 'codes_demo'}", *more]
    )


def shift(tokens: int) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda codes, stride: np.roll(codes, tokens * 4 // stride)


def random_codes(codes: np.ndarray, stride: int) -> np.ndarray:
    return np.random.default_rng(len(codes)).integers(0, 512, len(codes)).astype(codes.dtype)


def third(number: int) -> Callable[[CodeTable], np.ndarray]:
    return lambda table: table.rows_of("train")[number::3]


@pytest.mark.slow
def test_a_true_cache_passes_both_splits(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(prepared) == 0
    said = capsys.readouterr().out
    assert re.search(r"^the cached codes of \d+ rows are as they were written$", said, re.MULTILINE)
    assert "train codes are reproduced from their audio, 100.00% equal" in said
    assert "validation codes are reproduced from their audio, 100.00% equal" in said
    assert "validation utterances: lag" in said


@pytest.mark.slow
def test_one_damaged_token_of_a_row_that_no_proof_looks_at_is_found(prepared: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(prepared / "codes_demo", tmp_path / "codes_demo"))
    table, path = CodeTable.open(folder), folder / "codes.arrow"
    row, data = int(table.rows_of("train")[-1]), bytearray(path.read_bytes())
    data[data.rindex(table.codes(row, 2).tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"codes\.arrow: damaged \(the tokens of {table.path(row)} are not as written"):
        check(tmp_path)
    with pytest.raises(DataError, match="are not as written"):
        cli.run(["cache-codes", f"data={prepared}", "codec=demo", f"output={folder}", "merge=true"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, *thorough(1, 2)])
def test_s26_a_third_of_the_rows_shifted_is_refused(prepared: Path, damaged: Damage, number: int) -> None:
    damaged(shift(1), third(number))
    with pytest.raises(PreflightError, match=r"train rows are bad(.|\n)*lie \+1 coarse tokens \(\+85 ms\) late"):
        check(prepared)


@pytest.mark.slow
def test_s26_two_swapped_rows_are_refused(prepared: Path, swapped: Damage) -> None:
    swapped()
    with pytest.raises(PreflightError, match=r"2 of \d+ train rows are bad(.|\n)*its codes are stored for"):
        check(prepared)


@pytest.mark.slow
def test_s26_a_shifted_validation_split_is_refused(prepared: Path, damaged: Damage) -> None:
    damaged(shift(1), lambda table: table.rows_of("validation"))
    with pytest.raises(PreflightError, match=r"validation rows are bad(.|\n)*\+85 ms"):
        check(prepared, "trainer.preflight=[codes]")


@pytest.mark.slow
def test_s26_a_twentieth_of_the_rows_damaged_is_refused(prepared: Path, damaged: Damage) -> None:
    damaged(random_codes, lambda table: table.rows_of("train")[::20])
    with pytest.raises(PreflightError, match=r"train rows are bad(.|\n)*other audio, or damaged"):
        check(prepared)


def late(samples: np.ndarray, rate: int) -> np.ndarray:
    return np.concatenate([np.zeros(rate * 3 // 1000, samples.dtype), samples])[: len(samples)]


def stretched(samples: np.ndarray, rate: int) -> np.ndarray:
    places = np.arange(len(samples))
    return np.interp(places * (1 - 0.0005), places, samples).astype(samples.dtype)


def silent(samples: np.ndarray, rate: int) -> np.ndarray:
    return np.zeros_like(samples)


def spiked(samples: np.ndarray, rate: int) -> np.ndarray:
    return np.where(np.arange(len(samples)) == len(samples) // 2, np.float32(40), samples).astype(np.float32)


def as_they_are(samples: np.ndarray, rate: int) -> np.ndarray:
    return samples


def make_targets(prepared: Path, folder: Path, change: Callable[[np.ndarray, int], np.ndarray], every: int = 1) -> Path:
    """A folder of targets: the sources, every so many of them changed."""
    table = CodeTable.open(prepared / "codes_demo")
    root = Path(table.spec.audio_root)
    for number, path in enumerate(table.paths.to_pylist()):
        samples, rate = soundfile.read(root / path, dtype="float32")
        place = (folder / path).with_suffix(".wav")
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, change(samples, rate) if number % every == 0 else samples, rate, subtype="FLOAT")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "every", "cause"),
    [
        (late, 1, r"\+3\.0 ms late"),
        (late, 3, r"\+3\.0 ms late"),
        (stretched, 1, r"stretched by [+]0\.0[45]\d%"),
        (silent, 5, r"its target is silent"),
    ],
)
def test_s26_targets_out_of_time_or_implausible_are_refused(
    prepared: Path, tmp_path: Path, change: Callable[[np.ndarray, int], np.ndarray], every: int, cause: str
) -> None:
    targets = make_targets(prepared, tmp_path / "targets", change, every)
    with pytest.raises(PreflightError, match=rf"targets of head_48k are not in time(.|\n)*{cause}"):
        check(prepared, f"data.target_dir={targets}", "trainer.preflight=[targets]")


@pytest.mark.slow
def test_a_target_that_cannot_be_audio_is_refused_by_file_and_sample(prepared: Path, tmp_path: Path) -> None:
    targets = make_targets(prepared, tmp_path / "targets", spiked, 5)
    with pytest.raises(DataError, match=r"targets/.*\.wav: sample \d+ is 40, full scale is 1"):
        check(prepared, f"data.target_dir={targets}", "trainer.preflight=[targets]")


@pytest.mark.slow
def test_true_targets_pass_and_say_how_close_they_are(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = make_targets(prepared, tmp_path / "targets", as_they_are)
    assert check(prepared, f"data.target_dir={targets}", "trainer.preflight=[targets]") == 0
    assert "train targets of head_48k lie +0.00 ms from their sources" in capsys.readouterr().out.replace(
        "-0.00", "+0.00"
    )


@pytest.mark.slow
def test_a_run_with_a_damaged_cache_does_not_take_a_step(
    corpus_dir: Path, tmp_path: Path, damaged: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(shift(-2), lambda table: table.rows_of("validation"))
    cache = corpus_dir / "prepared" / "codes_demo"
    arguments = ["+experiment=demo", "codec=demo", f"output_dir={tmp_path}"]
    arguments += ["data=cached_codes", f"data.cache_dir={cache}"]
    assert train([*arguments, "trainer.preflight=[codes]"]) == 2
    assert "lie -2 coarse tokens (-171 ms) late" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.slow
def test_proofs_that_are_left_out_are_told(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(prepared, "trainer.preflight=[start,codes]") == 0
    said = capsys.readouterr().out
    assert "left out, sound: decoded codes and audio line up" in said
    assert "utterances: lag" not in said
    assert cli.run(["plan", "+experiment=phase12_dual_head", "trainer.preflight=[start,codes]"]) == 0
    assert "the preflight leaves out: sound (decoded" in capsys.readouterr().out


def test_fifty_nine_rows_find_a_twentieth_with_95_percent() -> None:
    assert needed_rows() == 59
    assert 0.95**59 < 0.05 < 0.95**58
    low, high = share_interval(0, 59)
    assert (low, round(high, 3)) == (0.0, 0.05)
    low, high = share_interval(20, 59)
    assert low < 20 / 59 < high
    assert (round(low, 2), round(high, 2)) == (0.23, 0.47)  # Wilson's interval, by hand


@pytest.mark.parametrize("late_ms", [-30.0, -2.5, 0.0, 0.3, 3.0, 12.0])
def test_a_delay_is_measured_to_a_hundredth_of_a_millisecond(late_ms: float) -> None:
    generator = np.random.default_rng(0)
    samples = np.convolve(generator.standard_normal(3 * RATE), np.hanning(9), mode="same")
    samples *= np.repeat(generator.random(30), RATE // 10)
    places = np.arange(len(samples))
    moved = np.interp(places - late_ms / 1000 * RATE, places, samples)
    assert measure_delay(samples, moved).seconds * 1000 == pytest.approx(late_ms, abs=0.01)
