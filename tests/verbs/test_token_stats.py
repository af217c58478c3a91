"""`snac-exp tokens stats`: a table, JSON and a picture."""

import json
from pathlib import Path

import pytest
from PIL import Image

from snac_exp.data.codes.table import CodeTable
from tests.helpers.commands import verb


@pytest.mark.slow
def test_statistics_of_a_cache_are_told_and_written(corpus_dir: Path, tmp_path: Path) -> None:
    cache, output = corpus_dir / "prepared" / "codes_demo", tmp_path / "stats"
    words = ["tokens", "stats", f"cache={cache}", "codec=demo", f"output={output}"]
    told = verb(*words).succeeded().out
    table, values = CodeTable.open(cache), json.loads((output / "tokens.json").read_text())
    assert [use["num_tokens"] for use in values["codebooks"]] == [len(tokens) for tokens in table.values]
    assert sum(split["utterances"] for split in values["splits"].values()) == len(table)
    assert f"{values['codebooks'][0]['used']} of 1024" in told
    assert "82.0 tokens a second, 820 bit/s" in told
    with Image.open(output / "tokens.png") as picture:
        assert picture.size == (1400, 400)
    done = verb(*words)
    assert done.status == 2
    assert "tokens.json is there already; name another output, or set overwrite=true" in done.err
    verb(*words, "overwrite=true").succeeded()
    assert "cache has no value" in verb("tokens", "stats").err
