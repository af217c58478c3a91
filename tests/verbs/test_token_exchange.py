"""`snac-exp tokens export` and `import`: rows that other programs train on and write, and the codes that come back."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from snac_exp.codec.opening import open_codec
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.schema import Codec
from snac_exp.config.structure import structure
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.tokens.rows.files import SCHEMA, TokenRow, read_rows, write_rows
from snac_exp.errors import DataError
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.release.code_files import read_parquet
from tests.helpers.commands import Done, verb
from tests.helpers.killed import killed_at
from tests.lm.layouts.made import codes_of, made, same

DEMO = made("orpheus", entries=1024, codec="demo")


@pytest.fixture
def cache(corpus_dir: Path) -> Path:
    return corpus_dir / "prepared" / "codes_demo"


def export(cache: Path, output: Path, *more: str) -> Done:
    return verb("tokens", "export", f"cache={cache}", f"output={output}", "codec=demo", *more)


def imported(source: Path, output: Path, *more: str) -> Done:
    return verb("tokens", "import", f"input={source}", f"output={output}", "codec=demo", *more)


def refused(done: Done) -> str:
    """The error that a command ended with."""
    assert done.status == 2
    return done.err


@pytest.mark.slow
@pytest.mark.parametrize(("format", "layout"), [("parquet", "orpheus"), ("jsonl", "orpheus_gemma"), ("jsonl", "flat")])
def test_a_cache_comes_back_bit_for_bit(format: str, layout: str, cache: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    table = CodeTable.open(cache)
    names = [table.path(row) for row in range(len(table))]
    texts.write_text("".join(json.dumps({"path": name, "text": f"so »{name}«"}) + "\n" for name in names))
    options = [f"layout={layout}", f"format={format}"]
    done = export(cache, tmp_path / "rows", *options, f"texts={texts}", "rows_per_shard=7")
    assert f"{len(table)} rows" in done.succeeded().out
    rows = [row for file in sorted((tmp_path / "rows").glob(f"*-of-*.{format}")) for row in read_rows(file)]
    assert sorted(str(row.path) for row in rows) == sorted(names)
    expected = made(layout, entries=1024)
    for row in rows:
        number = names.index(str(row.path))
        codes = [table.codes(number, i).astype(np.int64) for i in range(3)]
        ids = ids_of_codes(codes, expected)[0].tolist()
        special = expected.specials
        around = ([], []) if special is None else (
            [special.start_of_ai, special.start_of_speech], [special.end_of_speech, special.end_of_ai]
        )  # fmt: skip
        assert row.input_ids == row.labels == [*around[0], *ids, *around[1]]
        assert row.attention_mask == [1] * len(row.input_ids)
        assert (row.text, row.speaker) == (f"so »{row.path}«", table.speaker(number))
        assert row.seconds == int(table.num_samples[number]) / 24000
    validation = {table.path(int(row)) for row in table.rows_of("validation")}
    found = {row.path for file in (tmp_path / "rows").glob("validation-*") for row in read_rows(file)}
    assert found == validation
    imported(tmp_path / "rows", tmp_path / "codes.parquet", f"layout={layout}").succeeded()
    for name, codes_back in read_parquet(tmp_path / "codes.parquet"):
        number = names.index(name)
        assert same([row[0].numpy() for row in codes_back.tokens], [table.codes(number, i) for i in range(3)])
        assert codes_back.num_samples == int(table.num_samples[number])


@pytest.mark.slow
def test_an_export_that_is_killed_goes_on_and_a_changed_file_is_never_called_done(cache: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows"
    killed_at(
        "os.rename", "*/rows/validation-*", ["tokens", "export", f"cache={cache}", f"output={output}", "format=jsonl"]
    )
    assert sorted(path.name for path in output.iterdir() if not path.name.startswith(".")) == [
        "train-00000-of-00001.jsonl"
    ]
    done = export(cache, output, "format=jsonl")
    assert "1 files made, 1 there already" in done.succeeded().out
    assert [path.name for path in output.iterdir() if path.name.startswith(".")] == []
    done = export(cache, output, "format=jsonl", "layout=flat")
    assert "holds an export of another layout; name another folder" in refused(done)
    done = export(cache, output, "format=parquet")
    assert "holds an export of another format" in refused(done)
    # One id that is another code of the same place: only a comparison of codes can see it.
    file = output / "train-00000-of-00001.jsonl"
    rows = list(read_rows(file))
    rows[3].input_ids[5] += 1 if rows[3].input_ids[5] % 2 else -1
    write_rows(file, rows)
    done = export(cache, output, "format=jsonl")
    assert "train-00000-of-00001.jsonl, row 3: not " in refused(done)
    done = imported(output, tmp_path / "codes.parquet")
    assert "not as export.json lists it" in refused(done)
    assert not (tmp_path / "codes.parquet").exists()


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused(cache: Path, tmp_path: Path) -> None:
    done = export(cache, tmp_path / "rows", "layout=delay")
    assert "layout delay has 7 streams" in refused(done)
    done = export(cache, tmp_path / "rows", "layout=flat", "layout.codebook_size=512")
    assert "layout flat (layout.codebook_size=512) does not fit codec demo" in refused(done)
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"path": "a", "text": "b"}\n')
    done = export(cache, tmp_path / "rows", f"texts={texts}")
    assert "utterances have none, like " in refused(done)
    texts.write_text('{"path": "a"}\n')
    done = export(cache, tmp_path / "rows", f"texts={texts}")
    assert "texts.jsonl, line 1: no path and text" in refused(done)
    assert not (tmp_path / "rows").exists()
    done = verb("tokens", "export", f"output={tmp_path / 'rows'}")
    assert "cache has no value: set it with cache=FOLDER" in refused(done)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "notes.txt").write_text("mine")
    done = export(cache, tmp_path / "rows")
    assert "holds notes.txt, which is not of this export" in refused(done)


@pytest.mark.slow
def test_a_bare_list_of_ids_is_imported_and_decodes(tmp_path: Path) -> None:
    layout = made("flat", entries=1024)
    codes = codes_of(layout, 5, 0)
    ids = ids_of_codes(codes, layout)[0].tolist()
    source, output = tmp_path / "flat.json", tmp_path / "codes.parquet"
    assert "input: there is no" in refused(imported(source, output, "layout=flat"))
    source.write_text(json.dumps(ids))
    left = tmp_path / ".codes.parquet.abcdefgh.tmp"
    left.write_text("of a process that was killed")
    done = imported(source, output, "layout=flat")
    assert not left.exists()
    assert "codes of 1 rows" in done.succeeded().out
    ((name, found),) = read_parquet(output)
    assert (name, found.num_samples, found.sample_rate) == ("row_00000", 5 * 2048, 24000)
    assert same([row[0].numpy() for row in found.tokens], codes)
    done = imported(source, output, "layout=flat")
    assert "is there already" in refused(done)
    done = imported(source, tmp_path / "other.parquet")
    assert "flat.json, row 0: there is no whole frame of codes in it, and 35 ids are text for layout" in refused(done)
    done = imported(source, tmp_path / "other.parquet", "layout=flat", "layout.codebook_size=4096")
    assert "flat.json, row 0: position " in refused(done)
    assert not (tmp_path / "other.parquet").exists()


@pytest.mark.slow
def test_resync_says_what_it_dropped_and_lengths_follow(tmp_path: Path) -> None:
    codes = codes_of(DEMO, 4, 1)
    ids = ids_of_codes(codes, DEMO)[0].tolist()
    rows = [
        TokenRow([128257, *ids[:9], *ids[10:], 128258], seconds=4 * 2048 / 24000, path="a.wav"),
        TokenRow(ids, seconds=(4 * 2048 - 9) / 24000),
        TokenRow([128257, 128258], path="silent.wav"),
    ]
    source, output = tmp_path / "rows.jsonl", tmp_path / "codes.parquet"
    write_rows(source, rows)
    done = imported(source, output)
    assert f"rows.jsonl, row 0: position 10: id {ids[10]}, a code of place 3" in refused(done)
    assert not output.exists()
    done = imported(source, output, "mode=resync")
    assert done.status == 2
    told = done.out
    assert "a.wav: position 8, after 1 frames: 6 ids dropped (6 codes, 0 text, 0 others), about 1 frames lost" in told
    assert "1 rows cannot be used" in told
    assert "silent.wav: there is no whole frame" in told
    found = dict(read_parquet(output))
    assert {name: item.num_samples for name, item in found.items()} == {"a.wav": 3 * 2048, "row_00001": 4 * 2048 - 9}
    write_rows(source, [TokenRow(ids, seconds=1.0)])
    done = imported(source, tmp_path / "strict.parquet")
    assert "1.0 seconds are not what its 4 frames hold, 0.341" in refused(done)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("rows.jsonl", '{"input_ids": [1.5]}\n', "row 0: input_ids must be a list of whole numbers"),
        ("rows.jsonl", '{"input_ids": [1]}\n{"text": "a"}\n', "row 1: input_ids must be"),
        ("rows.jsonl", '{"input_ids": [1], "seconds": "long"}\n', "row 0: seconds is a str"),
        ("rows.jsonl", '{"input_ids": [1]}\n{"inp', "row 1: "),
        ("rows.parquet", "no parquet", "row 0: it is a file of text"),
        ("rows.csv", "1,2", "rows of ids are read from .parquet, .jsonl, .json"),
    ],
)
def test_files_that_hold_no_rows_are_refused(name: str, content: str, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / name))
    assert why in str(caught.value)
    with pytest.raises(DataError, match="there is no"):
        list(read_rows(tmp_path / "absent.jsonl"))


def test_parquet_has_the_columns_that_trainers_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, [TokenRow([1, 2], [1, 2], [1, 1], "a", "b", 1.5, "c")] * 130)
    assert pq.read_schema(path).names == SCHEMA.names
    assert list(read_rows(path)) == [TokenRow([1, 2], [1, 2], [1, 1], "a", "b", 1.5, "c")] * 130


@pytest.mark.slow
def test_the_reports_flat_file_imports_whole(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "reports" / "flat.json"
    if not source.exists():
        pytest.skip("needs the reports' flat.json in the shared data")
    imported(source, tmp_path / "codes.parquet", "layout=flat").succeeded()
    ((_, codes),) = read_parquet(tmp_path / "codes.parquet")
    assert codes.num_samples == 27 * 2048
    demo = open_codec(structure(Codec, resolved(compose_config("codec/demo", []))["codec"], "codec"))
    assert int(demo.model.codebook_size) == 1024
