"""A full disk, where a user meets it: one line with the file and the mend, status 2, no part of a file, and the command
given again comes to what it would have come to."""

import hashlib
from pathlib import Path

import pytest

from tests.helpers.commands import Done, train, verb
from tests.helpers.full_disk import files_up_to
from tests.helpers.same_runs import assert_equal, logged, outcome
from tests.helpers.tiny_runs import tiny  # noqa: F401 (fixture)
from tests.helpers.variants import thorough


def digests(folder: Path) -> dict[str, str]:
    """What lies below a folder, by relative path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(done: Done, name: str, folder: Path) -> None:
    """Told in one line that names the file, and nothing half-written is there."""
    assert done.status == 2, done
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("DataError: "), done.err
    assert f"{name}: File too large; raise the limit" in last, done.err
    assert [path for path in folder.rglob("*.tmp")] == []


CODEC = "checkpoint=snac_exp/assets/demo_codec"
VERBS = {
    "prepare": (["prepare", "input={corpus}/audio", "num_workers=1"], 1000, "scan.jsonl"),
    "cache-codes": (["cache-codes", "data={corpus}/prepared", "codec=demo"], 10_000, "codes-00000-of-00001.parquet"),
    "resampled": (["targets", "data={corpus}/prepared", "kind=resample", "num_workers=1"], 100_000, ".flac"),
    "encode": (["encode", "input={corpus}/audio/val_voice00", CODEC], 1000, ".npz"),
    "tokens": (["tokens", "encode", "input={corpus}/audio/val_voice00", "codec=demo"], 1000, ".npq"),
    "export": (["export", CODEC, "formats=[snac,multirate]"], 1_000_000, "pytorch_model.bin"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["export", *thorough(*sorted({*VERBS} - {"export"}))])
def test_a_verb_on_a_full_disk_is_one_error_and_goes_on_when_there_is_room(
    name: str, corpus_dir: Path, tmp_path: Path
) -> None:
    words, most_bytes, file = VERBS[name]
    arguments = [word.format(corpus=corpus_dir) for word in words]
    with files_up_to(most_bytes):
        done = verb(*arguments, f"output={tmp_path / 'out'}")
    refused(done, file, tmp_path)
    verb(*arguments, f"output={tmp_path / 'out'}").succeeded()
    verb(*arguments, f"output={tmp_path / 'whole'}").succeeded()
    found, expected = digests(tmp_path / "out"), digests(tmp_path / "whole")
    # These say when, where, or in what order.
    for path in {"job.json", "scan.jsonl", "files.jsonl", "codes.arrow", "export.json", "README.md"} & found.keys():
        del found[path], expected[path]
    assert found == expected


@pytest.mark.slow
def test_a_training_on_a_full_disk_keeps_its_checkpoints_and_goes_on(tiny: list[str], tmp_path: Path) -> None:  # noqa: F811
    train(*tiny, f"output_dir={tmp_path / 'whole'}").succeeded()
    with files_up_to(3_000_000):  # the optimizer's moments come with the second epoch's checkpoint
        done = train(*tiny, f"output_dir={tmp_path / 'full'}")
    refused(done, "checkpoint_epoch2.pt", tmp_path)
    full, whole = (next((tmp_path / name).glob("*/*")) for name in ("full", "whole"))
    assert sorted(path.name for path in full.glob("checkpoints/checkpoint*")) == [
        "checkpoint_epoch0.pt",
        "checkpoint_epoch1.pt",
    ]
    train(f"resume={full}").succeeded()
    assert_equal(outcome(full), outcome(whole))
    assert logged(full) == logged(whole)


@pytest.mark.slow
def test_a_run_that_cannot_begin_leaves_no_folder(tiny: list[str], tmp_path: Path) -> None:  # noqa: F811
    outputs = tmp_path / "outputs"
    done = train(*tiny[:-2], "data.cache_dir=/nowhere", tiny[-1])
    assert (done.status, "/nowhere: no code cache there" in done.err) == (2, True)
    with files_up_to(2000):
        refused(train(*tiny), "config.yaml", outputs)
    assert [str(path.relative_to(outputs)) for path in outputs.rglob("*")] == ["tiny"]
