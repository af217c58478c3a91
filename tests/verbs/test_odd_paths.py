"""A path may hold anything that a file name may: whatever key or verb takes it, it arrives as it was given."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from snac_exp.codec.checkpoint import bundled_directory
from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from tests.helpers.commands import Done, train, verb
from tests.helpers.tiny_runs import one_thread, tiny
from tests.helpers.variants import thorough

__all__ = ["one_thread", "tiny"]  # fixtures

ODD = "epoch=9-step=87.ckpt"
ODDEST = """~tilde, it's "quoted" \\ back=1 ${x} [a] {b: c} 日本 éع.pt"""

# Calls that end at the path `{}`, which is not there; each must name it as it was given.
CALLS = [
    ("train", "init_from={}", "data.cache_dir={corpus}/prepared/codes_demo"),
    ("train", "data.cache_dir={}"),
    ("train", "data=audio_folder", "data.path={}"),
    ("train", "codec.path={}", "data.cache_dir={corpus}/prepared/codes_demo"),
    ("train", "data.cache_dir={corpus}/prepared/codes_demo", "data.target_dir={}"),
    ("train", "data.cache_dir={corpus}/prepared/codes_demo", "data.audio_root={}"),
    ("train", "resume={}"),
    ("check", "data.cache_dir={}"),
    ("prepare", "input={}", "output={tmp}/o"),
    ("cache-codes", "data={}", "codec=demo"),
    ("cache-codes", "data={corpus}/prepared", "codec=demo", "codec.path={}"),
    ("cache-codes", "upgrade={}", "data={corpus}/prepared", "codec=demo", "output={tmp}/o"),
    ("cache-codes", "upgrade={corpus}", "audio={}", "codec=demo", "output={tmp}/o"),
    ("targets", "data={}", "kind=native"),
    ("targets", "data={corpus}/prepared", "kind=sidon", "sidon.path={}"),
    ("tokens", "check", "input={}"),
    ("tokens", "convert", "input={}", "output={tmp}/o"),
    ("tokens", "encode", "input={}", "output={tmp}/o"),
    ("tokens", "encode", "cache_dir={}", "output={tmp}/o"),
    ("encode", "input={}", "output={tmp}/o", "checkpoint={demo}"),
    ("encode", "input={corpus}/audio", "output={tmp}/o", "checkpoint={}"),
    ("decode", "input={}", "output={tmp}/o", "checkpoint={demo}"),
    ("decode", "input=x.npz", "output={tmp}/o", "checkpoint={}"),
    ("reconstruct", "input={}", "output={tmp}/o", "checkpoint={demo}"),
    ("reconstruct", "input={corpus}/audio", "output={tmp}/o", "checkpoint={}"),
    ("export", "checkpoint={}", "output={tmp}/o"),
    ("serve", "checkpoint={}"),
    ("serve", "checkpoint={demo}", "pretrained={}"),
    ("generate", "{}", "output={tmp}/o.wav"),
    ("generate", "checkpoint={}", "output={tmp}/o.wav"),
    ("evaluate", "data={}", "checkpoint={demo}"),
    ("evaluate", "data={corpus}/prepared", "checkpoint={}"),
    ("evaluate", "data={corpus}/prepared", "checkpoint={demo}", "target_dir={}"),
    ("evaluate", "evaluation={}", "compare={}"),
    ("compare", "{}"),
    ("report", "{}"),
    ("status", "{}"),
    ("status", "directory={}"),
    ("stop", "{}"),
    ("stop", "run={}"),
    ("sweep", "resume={}"),
    ("doctor", "{}"),
    ("doctor", "checkpoint={}"),
    ("doctor", "{demo}", "against={}"),
]


def first_of_each_verb(calls: list[tuple[str, ...]]) -> list[Any]:
    """The calls; those of a verb that stood before are for make thorough."""
    verbs = [call[:2] if call[0] == "tokens" else call[:1] for call in calls]
    marks = [[pytest.mark.thorough] if it in verbs[:number] else [] for number, it in enumerate(verbs)]
    return [pytest.param(call, marks=mark, id=" ".join(call)) for call, mark in zip(calls, marks, strict=True)]


RECIPE = ["+experiment=phase12_dual_head", "codec=demo", "tracker.mode=off"]


def called(call: tuple[str, ...], path: Path, corpus_dir: Path, tmp_path: Path) -> Done:
    """What a call does with this path."""
    places = {"corpus": corpus_dir, "tmp": tmp_path, "demo": bundled_directory("demo_codec")}
    name, *arguments = (item.replace("{}", "\0").format(**places).replace("\0", str(path)) for item in call)
    if name == "train":
        recipe = [] if arguments[0].startswith("resume=") else [*RECIPE, f"output_dir={tmp_path / 'out'}"]
        return train(*recipe, *arguments)
    return verb(name, *(RECIPE if name == "check" else []), *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", [ODDEST, *thorough(ODD)])
@pytest.mark.parametrize("call", first_of_each_verb(CALLS))
def test_a_path_that_is_not_there_is_named_as_it_was_given(
    call: tuple[str, ...], name: str, corpus_dir: Path, tmp_path: Path
) -> None:
    missing = tmp_path / name
    done = called(call, missing, corpus_dir, tmp_path)
    assert done.status == 2, done.err
    assert str(missing) in done.err
    # Not because Hydra, or the verb, read something else into it.
    rest = done.err.replace(str(missing), "")
    assert not any(word in rest for word in ("override", "unknown key", "no key", "knows no")), done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", [ODDEST, *thorough(ODD)])
def test_a_run_begins_with_the_weights_of_any_path(name: str, tiny: list[str], tmp_path: Path) -> None:
    train(*tiny).succeeded()
    (first,) = (tmp_path / "outputs/tiny").iterdir()
    shutil.copy(first / "checkpoints/best_model.pt", tmp_path / name)
    train(*tiny, "name=second", f"init_from={tmp_path / name}").succeeded()
    (second,) = (tmp_path / "outputs/second").iterdir()
    assert f"tensors loaded from {tmp_path / name}" in (second / "train.log").read_text()
    train(f"resume={second}").succeeded()


def test_relative_paths_are_stored_absolute() -> None:
    given = [
        "init_from=a=1/b.pt", "data=audio_folder", "data.sources=[{path: p, target_dir: '~/t'}]", "codec.path=c d",
    ]  # fmt: skip
    _, values = compose_experiment(hydra_overrides([*RECIPE, *given]))
    assert values["init_from"] == str(Path("a=1/b.pt").absolute())
    (source,) = values["data"]["sources"]
    assert (source["path"], source["target_dir"]) == (str(Path("p").absolute()), str(Path("~/t").expanduser()))
    assert values["codec"]["path"] == str(Path("c d").absolute())


NOT_TAKEN = [call for call in CALLS if call[:2] != ("encode", "input={}")]
NOT_TAKEN += [("encode", "input={}", "output={tmp}/o.npz", "checkpoint={demo}")]


@pytest.mark.slow
@pytest.mark.parametrize("call", first_of_each_verb(NOT_TAKEN))
def test_a_file_that_is_not_taken_is_named_as_what_it_is(
    call: tuple[str, ...], corpus_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Remember the milk.\n" * 100)
    done = called(call, file, corpus_dir, tmp_path)
    if call[:1] == ("doctor",) and done.status == 1:
        assert "is a file of text" in done.out.replace("\n", "")
        return
    assert done.status == 2, done.err
    said = done.out if call[:2] == ("tokens", "check") else done.err  # a check lists what cannot be used
    assert str(file) in said
    assert "is a file of text" in said, said
    assert "delete" not in said
    assert file.read_text().startswith("Remember")


OUTPUTS = [
    ("train", "output_dir={}", "data.cache_dir={corpus}/prepared/codes_demo"),
    ("prepare", "input={corpus}/audio", "output={}"),
    ("cache-codes", "data={corpus}/prepared", "codec=demo", "output={}"),
    ("targets", "data={corpus}/prepared", "kind=resample", "output={}"),
    ("tokens", "encode", "input={corpus}/audio", "output={}"),
    ("encode", "input={corpus}/audio", "output={}", "checkpoint={demo}"),
    ("reconstruct", "input={corpus}/audio", "output={}", "checkpoint={demo}"),
    ("export", "checkpoint={demo}", "output={}"),
    ("evaluate", "data={corpus}/prepared", "checkpoint={demo}", "output={}"),
]


@pytest.mark.slow
@pytest.mark.parametrize("below", ["/below", *thorough("")])
@pytest.mark.parametrize("call", OUTPUTS, ids=" ".join)
def test_a_file_where_a_folder_is_to_be_made(
    call: tuple[str, ...], below: str, corpus_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Remember the milk.\n" * 100)
    done = called(call, Path(f"{file}{below}"), corpus_dir, tmp_path)
    assert done.status == 2, done.err
    assert f"{file} is a file of text, not a folder" in done.err
    assert file.read_text() == "Remember the milk.\n" * 100
