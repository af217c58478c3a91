"""Damaged token files are refused by name, or read as they were written; those without a checksum say so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snac_exp.data.tokens.files import NpqFiles
from snac_exp.data.tokens.npq import NpqError, read_header, read_npq, write_npq
from snac_exp.data.tokens.val_list import write_val_list
from snac_exp.data.tokens.windows import split_files
from snac_exp.errors import DataError
from tests.campaigns.mutations import REFUSED, SAME, harmless, survives
from tests.data.tokens.test_npq import npq1, rated_bytes

VOCAB = (1024, 512, 64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A token file of 40 frames."""
    tokens = np.random.default_rng(0).integers(0, np.array(VOCAB), (40, 3))
    write_npq(tmp_path / "a.npq", tokens, VOCAB, 50.0, 1.5)
    return tmp_path / "a.npq"


def read(path: Path) -> Any:
    header, tokens = read_npq(path)
    return header, tokens.tolist()


def test_a_damaged_token_file_is_refused(path: Path) -> None:
    assert survives(read, path, read(path), 1, 60) == {REFUSED: 60}
    assert harmless(survives(read_header, path, read_header(path), 2, 60))
    path.write_bytes((data := path.read_bytes())[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
    with pytest.raises(NpqError, match="its header does not match its checksum"):
        read_header(path)  # the checksum of the tokens, which is part of the header


@pytest.mark.parametrize("verify_tokens", [True, False])
def test_a_damaged_file_is_refused_by_a_folder_at_the_latest_when_it_is_read(path: Path, verify_tokens: bool) -> None:
    def windows(path: Path) -> list[Any]:
        files = NpqFiles.open(path.parent, verify_tokens)
        return [files.layout, files.headers, *(files.read(0, start, 10).tolist() for start in (0, 30))]

    assert survives(windows, path, windows(path), 3, 60) == {REFUSED: 60}


def test_files_of_version_1_are_read_and_the_folder_says_that_they_have_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "a.npq").write_bytes(npq1())
    (tmp_path / "b.npq").write_bytes(rated_bytes(np.zeros((4, 2)), (1024, 1024)))
    write_npq(tmp_path / "c.npq", np.zeros((5, 2), np.int64), (1024, 1024), 86.0)
    with pytest.warns(UserWarning, match=r"2 of 3 token files .* without a checksum: .* snac-exp tokens convert"):
        assert len(NpqFiles.open(tmp_path).paths) == 3
    for name in ("a.npq", "b.npq"):
        outcomes = survives(read, tmp_path / name, read(tmp_path / name), 4, 60, without_checksum=True)
        assert set(outcomes) <= {SAME, REFUSED, "wrong values"}


def test_a_damaged_list_of_validation_files_is_refused_and_a_changed_one_says_how(tmp_path: Path) -> None:
    path, names = tmp_path / "val_list.txt", [f"speaker{i}/äöü {i}.npq" for i in range(12)]
    write_val_list(path, names)
    expected = ([i for i in range(20) if i >= 12], list(range(12)))

    def split(path: Path) -> Any:
        paths = [*names, *(f"other{i}.npq" for i in range(8))]
        return tuple(item.tolist() for item in split_files(paths, np.ones(20, np.int64), 0.5, 0, path))

    assert split(path) == expected
    assert harmless(survives(split, path, expected, 5, 100))
    path.write_text(path.read_text().replace(names[3] + "\n", ""))
    with pytest.raises(DataError, match="take the first line out if you changed it"):
        split(path)
    path.write_text(path.read_text().partition("\n")[2])
    assert split(path)[1] == [i for i in range(12) if i != 3]
