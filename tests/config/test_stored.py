"""The config that a run keeps of itself: plain values, read as they were written or not at all."""

import hashlib
import shutil
from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.config.stored import read_stored, stored_yaml
from snac_exp.errors import ConfigError, guarded
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.training import train
from tests.campaigns.mutations import harmless, survives

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_v1" / "runs" / "finished"
VALUES = {
    "name": "tiny",
    "lr": {"groups": {"a": "x.*"}, "rates": [5.0e-5, None]},
    "note": "${odd} # ' \u00e9",
    "on": True,
}

BILLION = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "a billion laughs": (BILLION, "alias or an anchor"),
    "an alias": ("a: &x 1\nb: *x\n", "alias or an anchor"),
    "a tag of Python": ("a: !!python/object/apply:os.system ['true']\n", "the tag tag:yaml.org,2002:python"),
    "any other tag": ("a: !!binary aGk=\n", "the tag"),
    "a tag of one's own": ("a: !mine 1\n", "the tag"),
    "nested without end": ("a: " + "[" * 100_000, "32 levels deep"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "has a key twice"),
    "a number twice as a key": ("1: 1\n1: 3\n", "has a key twice"),
    "merged mappings": ("a: 1\n<<: {b: 2}\n", "no plain word"),
    "a list as a key": ("? [1]\n: 2\n", "no plain word"),
    "no YAML": ("a: [1,\n", "in line"),
    "two documents": ("a: 1\n---\nb: 2\n", "document"),
    "very long": ("a: " + "x" * 2_000_000, "bytes, which no config has"),
    "a number of 9,000 digits": ("a: " + "9" * 9000, "digits"),
    "an interpolation that ends nowhere": ("a: ${b", "config.yaml"),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of an earlier version."""
    shutil.copytree(FIXTURE, tmp_path / "run")
    for path in (tmp_path / "run").glob("*.yaml"):
        path.write_text(path.read_text().replace("@ROOT@", str(tmp_path)))
    return tmp_path / "run"


def test_values_come_back_as_they_were_stored(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(stored_yaml(VALUES, "# A comment.\n"))
    assert read_stored(path) == VALUES
    assert path.read_text().startswith("# A comment.\n# sha256 ")


@pytest.mark.parametrize("of_old_version", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_run_writes_is_one_error(case: str, of_old_version: bool, tmp_path: Path) -> None:
    text, reason = HOSTILE[case]
    path = tmp_path / "config.yaml"
    digest = f"# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n"
    path.write_text(text if of_old_version else digest + text)
    with pytest.raises(ConfigError) as error:
        read_stored(path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)
    assert "init_from=RUN" in str(error.value)


def test_rubbish_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for data in (bytes(range(256)), b"\xff\xfe", b"a: \x00", b"\x80" * 1000):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"config\.yaml"):
            read_stored(path)


def of_run(path: Path) -> object:
    folder = RunFolder(path.parent)
    return folder.values(), folder.stored_overrides()


@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml"])
def test_a_damaged_file_is_refused_or_says_the_same(name: str, tmp_path: Path) -> None:
    folder = RunFolder.create(VALUES, ["seed=3", "name='a b'"], tmp_path / "run")
    path = folder.path / name
    outcomes = survives(of_run, path, (VALUES, ["seed=3", "name='a b'"]), seed=0, count=60)
    assert harmless(outcomes), outcomes


def test_a_changed_config_names_the_way_to_other_values(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(run)
    folder.config.write_text(stored_yaml(folder.values()).replace("seed: 0", "seed: 1"))
    assert train.main([f"resume={run}"]) == 2
    said = capsys.readouterr().err
    assert f"{folder.config} is not the file that the run was started with: it was changed after the run began" in said
    assert "start a new run with the wanted values: python train.py … init_from=RUN" in said
    text = folder.config.read_text()
    folder.config.write_text(text[text.index("\n") + 1 :])
    assert RunFolder(run).values()["seed"] == 1, "without its digest, as the message says, a change is taken up"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["a billion laughs", "a tag of Python", "nested without end", "no YAML"])
@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("train", "config.yaml"),
        *((verb, f"{name}.yaml") for verb in ("report", "compare") for name in ("config", "overrides")),
    ],
)
def test_verbs_name_the_file(
    verb: str, name: str, case: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_text(HOSTILE[case][0])
    arguments = {"train": [f"resume={run}"], "report": [str(run)], "compare": [str(run), str(FIXTURE)]}[verb]
    output = [f"output={tmp_path / 'side'}"] if verb == "compare" else []
    assert guarded(lambda: cli.run([verb, *arguments, *output])) == 2
    said = capsys.readouterr().err
    assert str(run / name) in said
    assert "Traceback" not in said


def test_a_config_of_an_old_run_with_a_wrong_value_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: zero"))
    assert train.main([f"resume={run}"]) == 2
    assert f"{path}: seed='zero' must be of type int" in capsys.readouterr().err
