"""Rejections have one form: what a verb lists is read back, and counted by kind."""

from pathlib import Path

import pyarrow.parquet as pq

from snac_exp.data.rejection import Rejection, count_kinds, counts_line, read_rejections, reason_lines, write_rejections

REJECTED = [
    Rejection("b/ä.wav", "silent", "peak 0"),
    Rejection("a.wav", "empty", "none"),
    Rejection("c", "silent", "x"),
]


def test_a_list_is_read_back_with_the_columns_it_always_had(tmp_path: Path) -> None:
    write_rejections(tmp_path / "rejected.parquet", REJECTED)
    assert read_rejections(tmp_path / "rejected.parquet") == REJECTED
    assert pq.read_schema(tmp_path / "rejected.parquet").names == ["path", "kind", "reason"]
    write_rejections(tmp_path / "none.parquet", [])
    assert read_rejections(tmp_path / "none.parquet") == []


def test_counts_and_reasons_for_people() -> None:
    assert count_kinds(REJECTED) == {"empty": 1, "silent": 2}
    assert counts_line(count_kinds(REJECTED), Path("out/r.parquet")) == "rejected: empty 1, silent 2 (out/r.parquet)"
    assert counts_line({}, Path("r")) == "rejected: none (r)"
    assert reason_lines(REJECTED[:1]) == ["  b/ä.wav: peak 0"]
