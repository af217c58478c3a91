"""What `snac-exp tokens import` takes of others: texts of tokens, and folders that the datasets library saved."""

from pathlib import Path

import datasets
import pytest

from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.text import text_of_ids
from snac_exp.release.code_files import read_parquet
from tests.helpers.commands import verb
from tests.lm.layouts.made import codes_of, made, same

DEMO = made("orpheus", entries=1024, codec="demo")


@pytest.mark.slow
def test_texts_of_tokens_are_imported(tmp_path: Path) -> None:
    codes = [codes_of(DEMO, num, num) for num in (2, 3)]
    ids = [[128257, *ids_of_codes(item, DEMO)[0].tolist(), 128258, 128262, 128263] for item in codes]
    source = tmp_path / "said.txt"
    source.write_text("".join(f"a prompt {text_of_ids(item, DEMO)}\n\n" for item in ids))
    done = verb("tokens", "import", f"input={source}", f"output={tmp_path / 'c.parquet'}", "codec=demo").succeeded()
    assert "codes of 2 rows" in done.out
    found = [[item[0].numpy() for item in read.tokens] for _, read in read_parquet(tmp_path / "c.parquet")]
    assert all(map(same, found, codes))
    source.write_text(text_of_ids(ids[0], DEMO) + " and more text\n")
    done = verb("tokens", "import", f"input={source}", f"output={tmp_path / 'd.parquet'}", "codec=demo")
    assert done.status == 2
    assert "said.txt, row 0: position 18: no token, text, where layout orpheus" in done.err


@pytest.mark.slow
def test_folders_of_the_datasets_library_are_imported_whoever_saved_them(tmp_path: Path) -> None:
    codes = [codes_of(DEMO, num, num) for num in (2, 3)]
    ids = [ids_of_codes(item, DEMO)[0].tolist() for item in codes]
    datasets.Dataset.from_dict({"input_ids": ids, "source": ["a", "b"]}).save_to_disk(str(tmp_path / "saved"))
    output = tmp_path / "c.parquet"
    verb("tokens", "import", f"input={tmp_path / 'saved'}", f"output={output}", "codec=demo").succeeded()
    found = [[item[0].numpy() for item in read.tokens] for _, read in read_parquet(output)]
    assert all(map(same, found, codes))
    (stream,) = (tmp_path / "saved").glob("*.arrow")
    stream.write_bytes(stream.read_bytes()[:200])
    output.unlink()
    done = verb("tokens", "import", f"input={tmp_path / 'saved'}", f"output={output}", "codec=demo")
    assert done.status == 2
    assert "it is damaged" in done.err
    (tmp_path / "saved" / "state.json").write_text("{}")
    done = verb("tokens", "import", f"input={tmp_path / 'saved'}", f"output={output}", "codec=demo")
    assert "a folder of the datasets library that is damaged" in done.err
