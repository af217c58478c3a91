"""`snac-exp tokens check` and `stats` of rows of ids: what a trainer would stumble over, and the figures of a cache."""

import json
from pathlib import Path

import pytest

from snac_exp.data.tokens.rows.files import EXPORT_FILE, TokenRow, read_rows, write_rows
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.system.files import read_json, write_signed_json
from tests.helpers.commands import Done, verb
from tests.lm.layouts.made import codes_of, made

DEMO = made("orpheus", entries=1024, codec="demo")


@pytest.fixture
def rows(corpus_dir: Path, tmp_path: Path) -> Path:
    """An export of the corpus' cache, one file for each split."""
    cache, output = corpus_dir / "prepared" / "codes_demo", tmp_path / "rows"
    verb("tokens", "export", f"cache={cache}", f"output={output}", "codec=demo", "format=jsonl").succeeded()
    return output


def checked(source: Path, *more: str) -> Done:
    return verb("tokens", "check", f"input={source}", "codec=demo", *more)


@pytest.mark.slow
def test_rows_have_the_statistics_of_the_cache_they_were_made_of(rows: Path, corpus_dir: Path, tmp_path: Path) -> None:
    cache = corpus_dir / "prepared" / "codes_demo"
    found = []
    for source in (f"input={rows}", f"cache={cache}"):
        output = tmp_path / source.partition("=")[0]
        verb("tokens", "stats", source, "codec=demo", f"output={output}").succeeded()
        found.append(json.loads((output / "tokens.json").read_text()))
    # An export has the rows of one split behind those of the other.
    doubles = [{frozenset(group) for group in values.pop("doubles")} for values in found]
    assert doubles[0] == doubles[1]
    assert found[0] == found[1]
    done = checked(rows).succeeded()
    num = {name: item["utterances"] for name, item in found[0]["splits"].items()}
    assert f"{sum(num.values())} usable rows ({num['train']} train, {num['validation']} validation)" in done.out
    assert f"codebook 0: {found[0]['codebooks'][0]['used']} of 1024 tokens in use" in done.out
    assert "give one of them" in verb("tokens", "stats", f"input={rows}", f"cache={cache}", "codec=demo").err
    assert f"give input={rows} to" in verb("tokens", "stats", f"cache={rows}", "codec=demo").err
    assert f"give cache={cache}" in verb("tokens", "stats", f"input={cache}", "codec=demo").err


@pytest.mark.slow
def test_an_export_is_not_read_as_of_another_layout_or_codec(rows: Path, tmp_path: Path) -> None:
    for verb_words in (["check"], ["stats"], ["import", f"output={tmp_path / 'codes.parquet'}"]):
        for more, mend in (
            ("layout=flat", "set layout=orpheus"),
            ("layout.vocabulary=9", "set layout.vocabulary=128256"),
        ):
            done = verb("tokens", *verb_words, f"input={rows}", "codec=demo", more)
            assert (done.status, mend in done.err) == (2, True)
    record = read_json(rows / EXPORT_FILE)
    codebooks = record.pop("codebooks")
    for changes, said in (
        ({"codebooks": "0"}, "set codec.path to the codec that they were made with"),
        ({"cache": record["cache"] | {"codec_name": "other", "codec_fingerprint": "0"}}, "set codec=other"),
    ):
        write_signed_json(rows / EXPORT_FILE, record | changes)
        for verb_words in (["check"], ["stats"], ["import", f"output={tmp_path / 'codes.parquet'}"]):
            done = verb("tokens", *verb_words, f"input={rows}", "codec=demo")
            assert (done.status, "with other codebooks, says its export.json; " + said in done.err) == (2, True)
    write_signed_json(rows / EXPORT_FILE, record | changes | {"codebooks": codebooks})
    checked(rows).succeeded()  # of a copy under another name, whose decoder was trained on


@pytest.mark.slow
def test_a_folder_that_changed_is_told_with_the_row(rows: Path) -> None:
    (file,) = rows.glob("train-*")
    written = list(read_rows(file))
    written[2].input_ids[5] = 7
    write_rows(file, written)
    next(rows.glob("validation-*")).unlink()
    done = checked(rows)
    assert done.status == 2
    assert f"{file.name}: {file}: not as export.json lists it" in done.out
    assert f"{file.name}, row 2: position 5: label " in done.out
    assert "lacks validation-00000-of-00001.jsonl" in done.out
    assert "3 rows or files cannot be used" in done.out
    assert f"{len(written) - 1} usable rows" in done.out


def test_what_a_trainer_would_stumble_over_is_listed_row_by_row(tmp_path: Path) -> None:
    ids = ids_of_codes(codes_of(DEMO, 4, 1), DEMO)[0].tolist()
    source = tmp_path / "rows.jsonl"
    good = TokenRow(ids, [-100, *ids[1:]], [1] * len(ids), path="a.wav")
    bad = [
        TokenRow(ids, path="a.wav"),
        TokenRow(ids, labels=ids[1:]),
        TokenRow(ids, attention_mask=[1]),
        TokenRow(ids, labels=[*ids[:-1], ids[-2]]),
        TokenRow(ids[:-1]),
        TokenRow([1, 2]),
        TokenRow(ids, seconds=1.0),
    ]
    write_rows(source, [good, *bad])
    with open(source, "a") as file:
        file.write(f'{{"input_ids": {ids}, "seconds": Infinity}}\n{{"input_ids": [1')
    done = checked(source)
    assert done.status == 2
    assert "1 usable rows (1 all) of layout orpheus on codec demo" in done.out
    for number, why in enumerate(
        (
            "a.wav comes twice",
            "labels has 27 values for 28 ids",
            "attention_mask has 1 values for 28 ids",
            f"position 27: label {ids[-2]} is neither the id there, {ids[-1]}, nor -100",
            "the stream ends at place 6 of a frame",
            "no whole frame of codes",
            "1.0 seconds are not what its 4 frames hold, 0.341",
            "inf seconds are not what its 4 frames hold, 0.341",
        ),
        1,
    ):
        assert f"rows.jsonl, row {number}: " in done.out
        assert why in done.out
    assert "row 9: " in done.out
    assert "9 rows or files cannot be used" in done.out
