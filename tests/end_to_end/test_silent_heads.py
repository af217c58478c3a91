"""Heads that fall silent are told where a user looks, and end the run where the recipe asks for it."""

import json
from pathlib import Path

import pytest
from recipe import recipe, run_dir
from torch import Tensor

from snac_exp import cli
from snac_exp.data.slices.batch import Batch
from snac_exp.report.run.notes import read_notes
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.verbs.training.train import main
from tests.helpers.webhook import VARIABLE, Webhook

SHORT = ["trainer.max_steps_per_epoch=1"]


def looks(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What status, doctor and the report's notes say of a run."""
    capsys.readouterr()
    said = {}
    for name, arguments in {
        "status": ["status", str(folder), "format=json"],
        "doctor": ["doctor", str(folder)],
    }.items():
        cli.run(arguments)
        said[name] = " ".join(capsys.readouterr().out.split())
    return said | {"report": " ".join(note.text for note in read_notes(folder, "").warnings)}


def scale(monkeypatch: pytest.MonkeyPatch, **factors: float) -> None:
    """Heads at so many times their amplitude."""
    scored = DecoderTask._scored

    def scaled(self: DecoderTask, head: str, waveform: Tensor, batch: Batch) -> Tensor:
        return scored(self, head, waveform, batch) * factors.get(head, 1.0)

    monkeypatch.setattr(DecoderTask, "_scored", scaled)


@pytest.mark.slow
def test_nothing_is_told_of_heads_at_their_level(
    corpus_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The demo codec is 8 dB too quiet on this corpus, and the new head begins 31 dB below.
    scale(monkeypatch, head_24k=2.4, head_48k=36.0)
    assert main([*recipe(corpus_dir, tmp_path), *SHORT, "trainer.preflight=[]"]) == 0
    console, folder = capsys.readouterr().out, run_dir(tmp_path)
    for place, text in {"console": console, **looks(folder, capsys)}.items():
        assert "below its target" not in text, place


@pytest.mark.slow
def test_a_silent_head_is_told_everywhere_and_ends_a_guarded_run(
    corpus_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    webhook: Webhook,
) -> None:
    scale(monkeypatch, head_48k=1e-3)
    unproven = [*SHORT, "trainer.preflight=[]"]
    alerts = ["alerts=json", f"alerts.url_variable={VARIABLE}"]
    assert main([*recipe(corpus_dir, tmp_path / "told"), *unproven, *alerts]) == 0
    console, folder = capsys.readouterr().out, run_dir(tmp_path / "told")
    for place, text in {"console": console, **looks(folder, capsys)}.items():
        assert "head_48k is " in text, place
        assert " dB below its target" in text, place
    # Each once in four validations; the demo's codec is quiet by itself, which is told at the end.
    told = sorted((item["event"], item["text"].split()[0]) for item in webhook.got)
    assert told == [("silent_head", "head_24k"), ("silent_head", "head_48k")]
    guarded = [*recipe(corpus_dir, tmp_path / "ended"), *unproven, "trainer.guards.silence_db=20"]
    assert main(guarded) == 2
    status = json.loads((run_dir(tmp_path / "ended") / "status.json").read_text())
    assert status["state"] == "failed"
    assert "SilenceError: step 1: head_48k is " in status["error"]
