"""What the page to listen computes; the page itself is tested in test_listening_page.py."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from snac_exp import cli
from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.codec.checkpoint import save_snac
from snac_exp.errors import CodecError, ConfigError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codec_before import codec_before
from snac_exp.release.listening.page import KEEP_SECONDS, RESULTS, Listener, PageSettings, _forget_old, opened_page
from snac_exp.release.listening.reconstruct import listen, players_of
from snac_exp.release.loading import load_codec, open_model
from tests.helpers.browser import free_port
from tests.release.conftest import checkpoint_of, random_codec, random_model

LABELS = ["pretrained 24k", "tuned 24k", "tuned 48k"]


@pytest.mark.slow
def test_every_output_has_a_player(
    codec: ReleasedCodec, pretrained: ReleasedCodec, upload: Path, tmp_path: Path
) -> None:
    players = players_of(codec, pretrained)
    assert [player.label for player in players] == LABELS
    made = listen(upload, players, tmp_path, seed=0, max_seconds=2.0)
    lengths = [len(soundfile.read(path)[0]) for path in made.outputs]
    assert lengths == [24_000, 24_000, 48_000]
    assert made.picture.stat().st_size > 10_000
    assert made.table.count("| 0.49 |") == 3
    tuned, _ = soundfile.read(made.outputs[1])
    assert np.abs(tuned - soundfile.read(made.outputs[0])[0]).max() > 1e-3


def test_uploads_that_are_too_long_or_no_audio(codec: ReleasedCodec, upload: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"more than the 0\.5 s"):
        listen(upload, players_of(codec, None), tmp_path, seed=0, max_seconds=0.5)
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(DataError, match="not readable as audio"):
        listen(tmp_path / "page.html", players_of(codec, None), tmp_path, seed=0, max_seconds=9.0)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_without_gradio_the_page_says_what_to_install(codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    page = opened_page(codec, None, PageSettings("127.0.0.1", free_port(), 10.0, 5.0, 0))
    with pytest.raises(ConfigError, match=r"pip install 'snac_exp\[serve\]'"), page:
        pass


@pytest.mark.slow
def test_the_verb_binds_to_loopback_unless_told_otherwise(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("snac_exp.release.listening.page.serve", lambda *arguments: served.append(arguments))
    assert cli.run(["serve", f"checkpoint={checkpoint}"]) == 0
    assert "no pretrained codec beside it" in capsys.readouterr().out
    assert cli.run(["serve", f"checkpoint={checkpoint}", "host=0.0.0.0", f"pretrained={checkpoint}"]) == 0
    (tuned, none, first), (_, pretrained, second) = served
    assert (tuned.sample_rates, none, pretrained.sample_rates) == ((24_000, 48_000), None, (24_000, 48_000))
    assert (first.host, first.max_seconds, first.max_megabytes, second.host) == ("127.0.0.1", 120.0, 50.0, "0.0.0.0")
    with pytest.raises(ConfigError, match="must be greater than 0"):
        cli.run(["serve", f"checkpoint={checkpoint}", "max_seconds=0"])


@pytest.mark.slow
def test_the_codec_before_training_is_found_where_the_run_found_it(tmp_path: Path) -> None:
    save_snac(random_codec().model, tmp_path / "codec")
    saved = checkpoint_of(random_model())

    def before(place: dict[str, Any] | None) -> ReleasedCodec:
        saved.config["codec"] = place
        write_checkpoint(tmp_path / "model.pt", saved)
        return codec_before(open_model(tmp_path / "model.pt"))

    found = before({"name": "small", "path": str(tmp_path / "codec"), "bundled": None, "hub_id": None})
    assert (found.sample_rates, found.fingerprint) == ((24_000,), load_codec(tmp_path / "codec").fingerprint)
    for place, message in (
        (None, "does not say what it was trained from"),
        ({"bundled": "demo_codec"}, "is not the one that"),
        ({"path": str(tmp_path / "gone")}, "gone"),
        ({"scratch": {}}, "was trained from random weights"),
        ({"path": ["x"]}, "has no source"),
    ):
        with pytest.raises(CodecError, match=message):
            before(place)


@pytest.mark.slow
def test_a_page_that_closes_takes_nothing_more(codec: ReleasedCodec, upload: Path, tmp_path: Path) -> None:
    listener = Listener(players_of(codec, None), PageSettings("127.0.0.1", 7860, 10.0, 1.0, 0), tmp_path)
    assert len(listener.reconstruct(upload).outputs) == 2
    listener.close()
    with pytest.raises(DataError, match="is being closed"):
        listener.reconstruct(upload)


def test_results_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    for name, age in ((f"{RESULTS}old", KEEP_SECONDS + 5), (f"{RESULTS}new", 5), ("other", KEEP_SECONDS + 5)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    _forget_old(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{RESULTS}new", "other"])
