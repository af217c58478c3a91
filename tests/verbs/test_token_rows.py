"""What `snac-exp tokens export` makes of texts, of long and repeated speech, in shares, for other libraries."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest

from snac_exp.data.codes.table import CodeTable
from snac_exp.data.rejection import read_rejections
from snac_exp.data.slices import cached_codes
from snac_exp.data.tokens.rows import proof
from snac_exp.data.tokens.rows.files import TokenRow, read_rows, row_files, write_rows
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.release.code_files import read_parquet
from tests.helpers.commands import Done, verb
from tests.helpers.tiny_tokenizer import BEGIN, END, LAYOUT, VOCABULARY, write_tokenizer
from tests.lm.layouts.made import made, same

DEMO = made("orpheus", entries=1024, codec="demo")
HOP, RATE = 2048, 24000


@pytest.fixture
def cache(corpus_dir: Path) -> Path:
    return corpus_dir / "prepared" / "codes_demo"


@pytest.fixture
def texts(cache: Path, tmp_path: Path) -> Path:
    table, path = CodeTable.open(cache), tmp_path / "texts.jsonl"
    names = [table.path(row) for row in range(len(table))]
    path.write_text("".join(json.dumps({"path": name, "text": f"sö {name}"}) + "\n" for name in names))
    return path


def export(cache: Path, output: Path, *more: str) -> Done:
    return verb("tokens", "export", f"cache={cache}", f"output={output}", "codec=demo", *more)


def rows_in(folder: Path) -> Iterator[TokenRow]:
    return (row for file in row_files(folder) for row in read_rows(file))


def codes_in(table: CodeTable, row: int) -> list[np.ndarray]:
    return [table.codes(row, codebook).astype(np.int64) for codebook in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["parquet", "jsonl", "hf"])
def test_the_datasets_library_opens_an_export_whole(format: str, cache: Path, tmp_path: Path) -> None:
    output, table = tmp_path / "rows", CodeTable.open(cache)
    done = export(cache, output, f"format={format}", "rows_per_shard=6").succeeded()
    assert "before: " in done.out
    assert "read back by the datasets library, and decoded: bit for bit as the cache" in done.out
    opened = (
        datasets.load_from_disk(str(output)) if format == "hf"
        else datasets.load_dataset(str(output), cache_dir=str(tmp_path / "arrow"))
    )  # fmt: skip
    assert set(opened) == {"train", "validation"}
    for split, rows in opened.items():
        numbers = table.rows_of(split)
        assert rows["path"][:] == [table.path(int(number)) for number in numbers]
        for row, number in zip(rows, numbers.tolist(), strict=True):
            assert same(read_ids([row["input_ids"]], DEMO).codes, codes_in(table, number))
            assert row["labels"] == row["input_ids"]
            assert row["attention_mask"] == [1] * len(row["input_ids"])
    card = (output / "README.md").read_text()
    assert f"{len(table)} rows of {len(table)} utterances" in card
    assert f"{len(table)} usable rows (" in verb("tokens", "check", f"input={output}", "codec=demo").succeeded().out
    verb("tokens", "import", f"input={output}", f"output={tmp_path / 'c.parquet'}", "codec=demo").succeeded()
    back = dict(read_parquet(tmp_path / "c.parquet"))
    for number in range(len(table)):
        found = back[table.path(number)]
        assert same([item[0].numpy() for item in found.tokens], codes_in(table, number))
        assert found.num_samples == int(table.num_samples[number])


@pytest.mark.slow
def test_texts_become_the_humans_turn_by_the_models_own_tokenizer(cache: Path, texts: Path, tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "model")
    options = [f"texts={texts}", f"tokenizer={tokenizer}", "prompt={speaker}: {text}", *LAYOUT]
    export(cache, tmp_path / "rows", "format=hf", *options).succeeded()
    layout = made("orpheus", entries=1024, codec="demo", vocabulary=VOCABULARY, end_of_text=END, codebook_size=1024)
    table = CodeTable.open(cache)
    assert layout.specials is not None
    for row, number in zip(
        rows_in(tmp_path / "rows"), [*table.rows_of("train"), *table.rows_of("validation")], strict=True
    ):
        prompt = f"{row.speaker}: sö {row.path}"
        assert row.text == prompt
        end = row.input_ids.index(END)
        assert row.input_ids[0] == layout.specials.start_of_human
        assert row.input_ids[1] == BEGIN
        assert end - 2 == len(prompt.encode())
        special = layout.specials
        assert row.input_ids[end + 1 : end + 4] == [special.end_of_human, special.start_of_ai, special.start_of_speech]
        assert row.input_ids[-2:] == [special.end_of_speech, special.end_of_ai]
        assert row.input_ids[end + 4 : -2] == ids_of_codes(codes_in(table, int(number)), layout)[0].tolist()
    # One that ends texts itself gives the same rows.
    other = write_tokenizer(tmp_path / "ending", ends=True)
    options = [f"texts={texts}", f"tokenizer={other}", "prompt={speaker}: {text}", *LAYOUT]
    export(cache, tmp_path / "ended", "format=jsonl", *options).succeeded()
    assert list(rows_in(tmp_path / "ended")) == list(rows_in(tmp_path / "rows"))


@pytest.mark.slow
def test_texts_that_the_cache_keeps_go_into_rows(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = CodeTable.open(cache)
    said = [None if row % 2 else f"said {row}" for row in range(len(table))]
    keeping = replace(table, more={"text": pa.array(said, pa.string())})
    monkeypatch.setattr(cached_codes, "open_table", lambda *_: keeping)
    export(cache, tmp_path / "rows", "format=jsonl").succeeded()
    found = {row.path: row.text for row in rows_in(tmp_path / "rows")}
    assert found == {table.path(row): text for row, text in enumerate(said)}
    export(cache, tmp_path / "silent", "format=jsonl", "texts=none").succeeded()
    assert {row.text for row in rows_in(tmp_path / "silent")} == {None}
    done = export(cache, tmp_path / "asked", f"tokenizer={write_tokenizer(tmp_path / 'model')}", *LAYOUT)
    assert f"{len(table) // 2} of {len(table)} utterances have none" in done.err
    done = export(cache, tmp_path / "cut", "max_tokens=250", "too_long=split")
    assert "set too_long=drop, or texts=none" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "layout", "why"),
    [
        ((), ["layout.vocabulary=128256"], "id 128009, which ends texts in layout orpheus, is nothing there"),
        ((), [f"layout.vocabulary={VOCABULARY}", "layout.end_of_text=65"], "is 'b' there and no special token"),
        (("<a>", "<b>"), [*LAYOUT], "id 259, <custom_token_1> in layout orpheus, is '<b>' there"),
        (("<custom_token_1>",), [*LAYOUT], "<custom_token_1> has id 258, in layout orpheus 259"),
        ((), [*LAYOUT, "layout.specials=null"], "layout orpheus has no specials"),
    ],
)
def test_a_tokenizer_that_contradicts_the_layout_is_refused(
    more: tuple[str, ...], layout: list[str], why: str, cache: Path, texts: Path, tmp_path: Path
) -> None:
    tokenizer = write_tokenizer(tmp_path / "model", more=more)
    done = export(cache, tmp_path / "rows", f"texts={texts}", f"tokenizer={tokenizer}", *layout)
    assert done.status == 2
    assert why in done.err
    assert not (tmp_path / "rows").exists()


@pytest.mark.slow
def test_what_contradicts_itself_is_refused(cache: Path, texts: Path, tmp_path: Path) -> None:
    for options, why in [
        (["prompt={speaker}: {text}"], "prompt needs texts"),
        ([f"tokenizer={tmp_path}"], "tokenizer needs texts"),
        ([f"texts={texts}", "prompt={speaker}"], "must hold {text}, and may hold {speaker}"),
        ([f"texts={texts}", "prompt={text.a}"], "is no template"),
        ([f"texts={texts}", "max_tokens=80", "too_long=split"], "nothing says where its text would be cut"),
        (["max_tokens=0"], "max_tokens=0 must be at least 1"),
        (["max_tokens=3"], "are longer than max_tokens=3, the shortest has "),
        (["shard.index=2", "shard.count=2"], "shard.index=2 must lie between 0 and shard.count - 1 = 1"),
        (["merge=true"], "lacks train-00000-of-00001.parquet and 1 more of 2 files"),
    ]:
        done = export(cache, tmp_path / "rows", *options)
        assert done.status == 2
        assert why in done.err
        assert not (tmp_path / "rows").exists()


@pytest.mark.slow
def test_a_folder_without_a_tokenizer_is_named_as_such(cache: Path, texts: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    damaged = write_tokenizer(tmp_path / "damaged")
    (damaged / "tokenizer.json").write_text("{")
    for name, why in [
        ("empty", "the folder holds no tokenizer that transformers opens"),
        ("damaged", "the folder holds no tokenizer that transformers opens"),
        ("missing", "there is no such folder, and it is no hub id OWNER/NAME"),
    ]:
        done = export(cache, tmp_path / "rows", f"texts={texts}", f"tokenizer={tmp_path / name}", *LAYOUT)
        assert done.status == 2
        assert f"tokenizer={tmp_path / name}: {why}" in done.err
        assert "hf download" not in done.err
        assert not (tmp_path / "rows").exists()


def test_a_special_token_in_a_text_is_refused(cache: Path, texts: Path, tmp_path: Path) -> None:
    texts.write_text(texts.read_text().replace(r"s\u00f6", "<end>", 1))
    tokenizer = write_tokenizer(tmp_path / "model")
    done = export(cache, tmp_path / "rows", f"texts={texts}", f"tokenizer={tokenizer}", *LAYOUT)
    assert done.status == 2
    assert f"contains id {END}, <end>, which ends texts or is speech for layout orpheus" in done.err


@pytest.mark.slow
def test_long_utterances_are_dropped_or_split_and_listed(cache: Path, tmp_path: Path) -> None:
    table, limit = CodeTable.open(cache), 248
    long = [number for number in range(len(table)) if 4 + 7 * int(table.coarse_lengths[number]) > limit]
    assert 0 < len(long) < len(table)
    done = export(cache, tmp_path / "dropped", f"max_tokens={limit}").succeeded()
    seconds = sum(int(table.num_samples[number]) for number in long) / RATE
    assert f"{len(long)} utterances ({seconds:.1f} s) longer than max_tokens={limit} left out: " in done.out
    listed = read_rejections(tmp_path / "dropped" / "rejected.parquet")
    assert sorted(item.path for item in listed) == sorted(map(table.path, long))
    assert {row.path for row in rows_in(tmp_path / "dropped")}.isdisjoint(map(table.path, long))
    done = export(cache, tmp_path / "split", f"max_tokens={limit}", "too_long=split", "format=jsonl").succeeded()
    assert f"{len(long)} utterances longer than max_tokens={limit} cut into several rows" in done.out
    rows = {str(row.path): row for row in rows_in(tmp_path / "split")}
    assert max(len(row.input_ids) for row in rows.values()) <= limit
    for number in long:
        stem = table.path(number).rpartition(".")[0]
        parts = [rows[name] for name in sorted(rows) if name.startswith(f"{stem}.part")]
        assert len(parts) > 1
        found = [read_ids([row.input_ids], DEMO).codes for row in parts]
        assert same([np.concatenate(item) for item in zip(*found, strict=True)], codes_in(table, number))
        assert sum(row.seconds or 0 for row in parts) == pytest.approx(int(table.num_samples[number]) / RATE, abs=1e-9)
    verb(
        "tokens", "import", f"input={tmp_path / 'split'}", f"output={tmp_path / 'c.parquet'}", "codec=demo"
    ).succeeded()


@pytest.mark.slow
def test_repeated_frames_are_left_out_only_when_asked_and_counted(cache: Path, tmp_path: Path) -> None:
    table = CodeTable.open(cache)
    kept = [np.r_[True, np.diff(codes_in(table, number)[0]) != 0] for number in range(len(table))]
    num = sum(int((~item).sum()) for item in kept)
    assert num > 0
    done = export(cache, tmp_path / "rows", "drop_repeated_frames=true", "format=jsonl").succeeded()
    rows = {row.path: row for row in rows_in(tmp_path / "rows")}
    lost = 0.0
    for number, mask in enumerate(kept):
        row, codes = rows[table.path(number)], codes_in(table, number)
        expected = [codes[i].reshape(len(mask), -1)[mask].reshape(-1) for i in range(3)]
        assert same(read_ids([row.input_ids], DEMO).codes, expected)
        samples = int(table.num_samples[number])
        # Only the last frame may be partly silence.
        left = int(mask.sum()) * HOP - ((len(mask) * HOP - samples) if mask[-1] else 0)
        assert row.seconds == left / RATE
        lost += (samples - left) / RATE
    assert f"{num} repeated frames left out, {lost:.1f} s of audio" in done.out
    verb("tokens", "import", f"input={tmp_path / 'rows'}", f"output={tmp_path / 'c.parquet'}", "codec=demo").succeeded()


@pytest.mark.thorough
def test_shares_make_the_folder_that_one_process_makes(cache: Path, tmp_path: Path) -> None:
    options = ["format=hf", "rows_per_shard=5"]
    export(cache, tmp_path / "one", *options).succeeded()
    for index in (1, 0):
        done = export(cache, tmp_path / "many", *options, f"shard.index={index}", "shard.count=2").succeeded()
        assert "the same command with merge=true" in done.out
        assert not (tmp_path / "many" / "export.json").exists()
        if index == 1:
            assert "lacks train/data-00000-of-" in export(cache, tmp_path / "many", *options, "merge=true").err
    export(cache, tmp_path / "many", *options, "merge=true").succeeded()

    def content(folder: Path) -> dict[str, bytes]:
        # The library gives each data set a fingerprint of its own.
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "state.json"]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    assert content(tmp_path / "one") == content(tmp_path / "many")


@pytest.mark.slow
def test_a_preflight_that_fails_leaves_nothing(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof before anything is written: a writer that alters one code of a row."""

    def careless(path: Path, rows: Iterator[TokenRow]) -> None:
        altered = [
            TokenRow(**vars(row) | {"input_ids": [*row.input_ids[:3], row.input_ids[3] ^ 1, *row.input_ids[4:]]})
            for row in rows
        ]
        write_rows(path, altered)

    monkeypatch.setattr(proof, "write_rows", careless)
    done = export(cache, tmp_path / "rows", "format=jsonl")
    assert done.status == 2
    assert "row 0: not " in done.err
    assert not (tmp_path / "rows").exists()
