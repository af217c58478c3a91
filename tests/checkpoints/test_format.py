"""A checkpoint file comes back as it was, an old one as it would be written today, and any other is one clear error."""

import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from snac_exp.checkpoints import format as checkpoint_format
from snac_exp.checkpoints.file import read_checkpoint, write_checkpoint
from snac_exp.checkpoints.format import MIGRATIONS, VERSION, Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.errors import CheckpointError

STATE = {
    "epoch": 2, "batch": 3, "step": 7, "audio_seconds": 8.5, "elapsed_seconds": 9.0, "best": {"weighted": 1.5},
    "metrics_position": 100,
}  # fmt: skip
FIRST_FORMAT: dict[str, Any] = {
    "format": 1,
    "state": STATE | {"outliers": {"mean": 2.0}, "rollbacks": {"num_rollbacks": 1}},
    "model": {"weight": torch.arange(3.0)},
    "optimizer": {"state": {}, "param_groups": [{"name": "all", "params": [0]}]},
    "adversary": {"state": {}, "param_groups": []},
    "adversary_model": {"conv": torch.ones(2)},
    "ema": {"weight": torch.zeros(3)},
    "precision": {},
    "codec": {"name": "demo", "fingerprint": "f", "config": {"sampling_rate": 24000}},
    "config": {"name": "recipe"},
    "environment": {"torch": "2"},
}


def full() -> Checkpoint:
    """A checkpoint with every field set."""
    return Checkpoint(
        model={"weight": torch.arange(3.0)},
        state=TrainState(**STATE),
        provenance={"name": "demo", "fingerprint": "f", "config": {"sampling_rate": 24000}},
        config={"name": "recipe"},
        environment={"torch": "2"},
        optimizers={"optimizer": FIRST_FORMAT["optimizer"], "adversary": FIRST_FORMAT["adversary"]},
        average={"weight": torch.zeros(3)},
        adversary={"conv": torch.ones(2)},
        precision={},
        outliers={"mean": 2.0},
        rollbacks={"num_rollbacks": 1},
    )


def assert_same(ours: Checkpoint, theirs: Checkpoint) -> None:
    """Equal in every field, tensors by value."""
    for name, value in asdict(theirs).items():
        assert str(asdict(ours)[name]) == str(value), name  # these tensors are printed in full


def saved(path: Path, payload: object) -> Path:
    torch.save(payload, path)
    return path


def test_a_file_comes_back_field_by_field(tmp_path: Path) -> None:
    checkpoint = replace(
        full(), objective=0.5, failure={"values": {"loss": 1.0}, "files": ["a"]}, extra={"x": {"y": 1}}
    )
    write_checkpoint(tmp_path / "a.pt", checkpoint)
    assert_same(read_checkpoint(tmp_path / "a.pt"), checkpoint)


def test_a_file_of_the_first_format_is_what_would_be_written_today(tmp_path: Path) -> None:
    assert_same(read_checkpoint(saved(tmp_path / "a.pt", FIRST_FORMAT)), full())
    unnumbered = {name: value for name, value in FIRST_FORMAT.items() if name != "format"}
    assert_same(read_checkpoint(saved(tmp_path / "b.pt", unnumbered)), full())
    best = {name: FIRST_FORMAT[name] for name in ("format", "state", "model", "codec", "config", "environment")}
    found = read_checkpoint(saved(tmp_path / "c.pt", best | {"objective": 0.25}))
    assert (found.objective, found.optimizers, found.average) == (0.25, None, None)
    failed = read_checkpoint(saved(tmp_path / "d.pt", FIRST_FORMAT | {"figures": {"loss": 1.0}, "files": ["a.wav"]}))
    assert failed.failure == {"values": {"loss": 1.0}, "files": ["a.wav"]}


def test_every_migration_between_a_file_and_today_is_made_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A next format that keeps the recipe's name in its provenance, and one that doubles its length."""

    def named(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"provenance": old["provenance"] | {"recipe": old["config"]["name"]}}

    def doubled(old: dict[str, Any]) -> dict[str, Any]:
        return old | {"provenance": old["provenance"] | {"recipe": 2 * old["provenance"]["recipe"]}}

    write_checkpoint(tmp_path / "second.pt", full())
    monkeypatch.setattr(checkpoint_format, "MIGRATIONS", [*MIGRATIONS, named, doubled])
    monkeypatch.setattr(checkpoint_format, "VERSION", VERSION + 2)
    for path in (tmp_path / "second.pt", saved(tmp_path / "first.pt", FIRST_FORMAT)):
        assert read_checkpoint(path).provenance["recipe"] == "reciperecipe"
    write_checkpoint(tmp_path / "fourth.pt", full())
    assert "recipe" not in read_checkpoint(tmp_path / "fourth.pt").provenance, "it is of that format already"


def payload(**changes: Any) -> dict[str, Any]:
    return full().to_payload() | changes


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in payload().items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (payload(format=VERSION + 1), rf"has format {VERSION + 1}, and this version .* up to {VERSION}; update it"),
        (payload(format=0), "no checkpoint of this program"),
        (payload(format="snac_exp"), "no checkpoint of this program"),
        ({"weight": torch.zeros(1)}, "no checkpoint of this program"),
        ([1, 2], "no checkpoint of this program"),
        (without("model"), "lacks the model"),
        (without("provenance"), "lacks the provenance"),
        ({"format": 1, "model": {}}, "lacks the provenance, config, environment, state"),
        (payload(model=torch.zeros(1)), "no checkpoint of this program"),
        (payload(config=[1]), "its config is a list, no dictionary"),
        (payload(average={"weight": 3}), "weight of its average is no tensor"),
        (payload(state={"epoch": 1}), "its state lacks 'batch'"),
        (payload(callback={}), "parts that are unknown: callback"),
    ],
)
def test_a_foreign_newer_or_malformed_file_is_one_clear_error(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"a\.pt.*{message}"):
        read_checkpoint(saved(tmp_path / "a.pt", content))


def test_damaged_files_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_checkpoint(path, full())
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.pt is no checkpoint of tensors and plain values.*use another"):
            read_checkpoint(path)
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "absent.pt")


class Bomb:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('executed')",))


def test_pickles_with_code_are_refused_and_not_run(tmp_path: Path) -> None:
    bomb = saved(tmp_path / "bomb.pt", payload(model=Bomb()))
    with pytest.raises(CheckpointError, match=r"bomb\.pt is no checkpoint of tensors and plain values"):
        read_checkpoint(bomb)
    raw = tmp_path / "raw.pt"
    raw.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match=r"raw\.pt is no checkpoint"):
        read_checkpoint(raw)


def test_only_tensors_and_plain_values_are_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"checkpoint\['config'\]\['path'\] is a PosixPath"):
        write_checkpoint(tmp_path / "a.pt", replace(full(), config={"path": tmp_path}))
    assert not list(tmp_path.iterdir())


def test_a_part_that_was_not_saved_is_named() -> None:
    best = full().for_use(0.5)
    assert (best.objective, best.part("model")) == (0.5, best.model)
    with pytest.raises(CheckpointError, match="holds no optimizers, which this run needs to resume"):
        best.part("optimizers")
    with pytest.raises(CheckpointError, match="holds no sampler"):
        full().part("sampler")


def test_a_copy_does_not_change_with_the_original() -> None:
    original = full()
    copy = original.copied()
    original.model["weight"].add_(1)
    original.state.step, original.state.best["weighted"] = 8, 0.0
    assert copy.model["weight"].tolist() == [0.0, 1.0, 2.0]
    assert (copy.state.step, copy.state.best) == (7, {"weighted": 1.5})


def test_step_counters_stay_on_the_cpu_when_moments_move(tmp_path: Path) -> None:
    """torch reads AdamW's `step` before every step: on an accelerator each of these is a wait. The meta device stands
    for one here, since the place of a tensor is all that is asked."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    written = replace(full(), optimizers={"optimizer": optimizer.state_dict()})
    write_checkpoint(tmp_path / "a.pt", written)
    elsewhere = torch.optim.AdamW(nn.Linear(3, 2, device="meta").parameters())
    elsewhere.load_state_dict(read_checkpoint(tmp_path / "a.pt").part("optimizers")["optimizer"])
    states = list(elsewhere.state.values())
    assert [(state["step"].device.type, float(state["step"])) for state in states] == [("cpu", 1.0)] * 2
    assert {state[name].device.type for state in states for name in ("exp_avg", "exp_avg_sq")} == {"meta"}
