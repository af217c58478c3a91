"""What a run, a cache and a checkpoint were made from: what is there, what has changed since, what is gone."""

import json
import re
import shutil
from pathlib import Path

import pytest

from snac_exp.config.stored import stored_yaml
from snac_exp.errors import ConfigError
from snac_exp.lineage.chain import Link, chain
from snac_exp.lineage.drawing import tree, without_places
from snac_exp.lineage.meaning import meaning_of, note_meaning
from snac_exp.system.files import write_text
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.results.lineage import main as verb_of_lineage
from tests.helpers.commands import verb
from tests.helpers.old_runs import FIXTURE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Runs of an earlier version with the codec and the codes that they are of; their audio is elsewhere."""
    for name in ("runs", "prepared", "codec"):
        shutil.copytree(FIXTURE / name, tmp_path / name)
    for path in [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.yaml")]:
        path.write_text(path.read_text().replace("@ROOT@", str(tmp_path)))
    return tmp_path


def drawn(path: Path, root: Path) -> list[str]:
    """The tree with X for digests and without the root."""
    lines = verb("lineage", str(path)).succeeded().out.replace(f"{root}/", "").splitlines()
    return [re.sub(r"\b[0-9a-f]{12}\b", "X", line) for line in lines]


CACHE = [
    "└── data.cache_dir: code cache prepared/codes (X)",
    "    ├── codec: codec tiny (fingerprint X)",
    "    └── manifest: prepared folder prepared (X)",
    "        └── audio: folder /tmp/run_v1/audio, gone",
]


def begun_from_another(root: Path) -> RunFolder:
    """The run `stopped` as if it had begun with the weights of `finished`."""
    run = RunFolder(root / "runs" / "stopped")
    values = run.values() | {"init_from": str(root / "runs" / "finished")}
    write_text(run.config, stored_yaml(values))
    run = RunFolder(run.path)
    note_meaning(run)
    return run


@pytest.mark.slow
def test_a_run_of_an_earlier_version_and_its_checkpoint(root: Path) -> None:
    run = [
        "run runs/finished (X, finished, finished)",
        "├── codec.path: codec codec (X, fingerprint X)",
        *CACHE,
    ]
    assert drawn(root / "runs/finished", root) == run
    checkpoint = drawn(root / "runs/finished/checkpoints/best_model.pt", root)
    assert checkpoint == [
        "file runs/finished/checkpoints/best_model.pt (X)",
        f"└── written by: {run[0]}",
        *(f"    {line}" for line in run[1:]),
    ]


@pytest.mark.slow
def test_what_is_gone_and_what_has_changed_is_told_with_what_it_was(root: Path) -> None:
    run = begun_from_another(root)
    noted = meaning_of(run).parents["init_from"]
    assert noted.digest is not None
    assert f"init_from: run runs/finished ({noted.digest[:12]}, finished, finished)" in "\n".join(
        line.replace(f"{root}/", "") for line in tree(chain(str(run.path)))
    )
    shutil.rmtree(root / "runs/finished")
    (root / "codec/config.json").write_text((root / "codec/config.json").read_text() + "\n")
    (root / "prepared/codes/codes-00001-of-00002.parquet").write_bytes(b"PAR1")
    lines = drawn(run.path, root)
    assert "├── codec.path: codec codec (X, fingerprint X), changed since" in lines
    assert "└── init_from: run runs/finished (X, finished, finished), gone" in lines
    assert noted.digest[:12] in verb("lineage", str(run.path)).out
    (root / "prepared/codes/codes-00000-of-00002.parquet").write_bytes(b"PAR1")
    (line,) = [line for line in drawn(run.path, root) if "data.cache_dir" in line]
    assert "data.cache_dir: code cache prepared/codes (X, prepared/codes/codes-00000-of-00002.parquet: not a" in line
    assert line.endswith(", unreadable")


@pytest.mark.slow
def test_targets_are_a_parent_with_what_they_were_made_of(root: Path) -> None:
    targets = root / "targets"
    targets.mkdir()
    settings = {"source": str(root / "speech"), "model": "restorer"}
    (targets / "targets.json").write_text(json.dumps(settings))
    run = RunFolder(root / "runs" / "finished")
    values = run.values()
    write_text(run.config, stored_yaml(values | {"data": values["data"] | {"target_dir": str(targets)}}))
    run = RunFolder(run.path)
    note_meaning(run)
    made = ["└── data.target_dir: targets targets (X)", "    └── audio: folder speech, gone"]
    assert drawn(run.path, root)[-2:] == made
    (targets / "targets.json").write_text(json.dumps(settings | {"model": "another"}))
    assert drawn(run.path, root)[-2] == f"{made[0]}, changed since"


@pytest.mark.slow
def test_other_forms_say_the_same_and_for_others_it_names_no_folders_of_this_machine(root: Path) -> None:
    run = begun_from_another(root)
    found = chain(str(run.path))
    values = json.loads(verb("lineage", str(run.path), "format=json").succeeded().out)
    assert Link.from_json(values) == found
    assert Link.from_json(values).to_json() == values
    chart = verb("lineage", str(run.path), "format=mermaid").succeeded().out.splitlines()
    assert chart[0] == "flowchart TB"
    assert sum(" --> " in line for line in chart) == len(tree(found)) - 1
    told = json.dumps(without_places(found).to_json())
    assert str(root) not in told
    assert "/tmp/run_v1" not in told
    assert "runs/finished" in told


@pytest.mark.slow
def test_an_exported_folder_and_its_card_carry_the_chain(root: Path) -> None:
    output = root / "my-codec"
    verb("export", f"checkpoint={root / 'runs/finished'}", f"output={output}", "formats=[multirate]").succeeded()
    shutil.rmtree(root / "runs")
    lines = drawn(output, root)
    assert lines == [
        "exported codec my-codec (X)",
        "└── file best_model.pt (X)",
        "    └── written by: run runs/finished (X, finished, finished)",
        "        ├── codec.path: codec codec (X, fingerprint X)",
        *(f"        {line.replace('prepared/codes', 'codes').replace('/tmp/run_v1/', '')}" for line in CACHE),
    ]
    card = (output / "README.md").read_text(encoding="utf-8")
    for line in lines[1:]:
        assert re.search(re.escape(line[4:]).replace("X", "[0-9a-f]{12}"), card), line
    assert str(root) not in card + (output / "lineage.json").read_text()
    (output / "lineage.json").write_text((output / "lineage.json").read_text().replace("finished", "other"))
    assert drawn(output, root)[0].endswith("restore it or remove it), unreadable")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    for arguments, message in (
        ([], "the lineage of what"),
        ([str(tmp_path / "run")], f"there is no {tmp_path / 'run'}"),
        ([str(tmp_path), "format=dot"], "format=dot is not valid; choose one of: tree, json, mermaid"),
        (["depth=3"], "the lineage of what"),
    ):
        done = verb("lineage", *arguments)
        assert (done.status, message in done.err) == (2, True), done


def test_what_has_no_lineage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.pt").write_text("no checkpoint")
    for place in (tmp_path / "junk.pt", tmp_path):
        with pytest.raises(ConfigError, match=r"is a (file|folder), and no run, checkpoint, exported folder"):
            verb_of_lineage([str(place)])
