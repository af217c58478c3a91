"""Lines that are appended while something works: what is read of damaged ones is what was written, or nothing."""

import math

import pytest

from snac_exp.system.checksums.json_lines import signed_line, sound_lines
from tests.campaigns.mutations import mutation

VALUES = [{"name": f"file {number}.wav", "score": number / 7, "rows": [number, None]} for number in range(12)]
TEXT = "".join(f"{signed_line(values)}\n" for values in VALUES).encode()


def test_what_was_written_is_read_and_so_are_lines_of_earlier_versions() -> None:
    assert list(sound_lines(TEXT.split(b"\n"))) == VALUES
    assert list(sound_lines(['{"name": "a", "score": 1.0}', "", "[1]", "3"])) == [{"name": "a", "score": 1.0}]
    with pytest.raises(ValueError, match="JSON"):
        signed_line({"score": math.nan})


def test_a_damaged_line_is_left_out_and_the_others_are_read() -> None:
    for number in range(400):
        found = list(sound_lines(mutation(TEXT, 0, number).split(b"\n")))
        assert all(values in VALUES for values in found), number
    changed = TEXT.replace(b"file 3.wav", b"file 9.wav")
    assert list(sound_lines(changed.split(b"\n"))) == VALUES[:3] + VALUES[4:]
