"""Samples of validations that come by steps: their folders, the page and the table of runs name steps."""

from pathlib import Path

import pytest

from snac_exp.tracking.metrics_file import read_metrics
from tests.helpers.commands import train, verb


@pytest.mark.slow
def test_samples_come_by_steps_and_the_page_names_them(tiny: list[str], tmp_path: Path) -> None:
    by_steps = ["trainer.max_steps=4", "trainer.validate_every_steps=2", "trainer.samples_every_steps=4"]
    train(*tiny, *by_steps, "trainer.num_sample_clips=1", "trainer.max_steps_per_epoch=3").succeeded()
    (folder,) = (tmp_path / "outputs" / "tiny").iterdir()
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["step0000000", "step0000004"]
    page = (folder / "report.html").read_text()
    assert "step 4" in page
    validations = [line["step"] for line in read_metrics(folder) if line["kind"] == "validation"]
    assert validations == [0, 2, 4]
    shown = verb("status", str(tmp_path / "outputs")).succeeded().out
    assert "2/2" in shown
