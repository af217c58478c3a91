"""Sound of several runs side by side: of the same speech only, and in an order that tells blind listeners nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from snac_exp.errors import ConfigError
from snac_exp.report.compare.blind import LETTERS, shuffled
from snac_exp.report.compare.comparison import ComparisonSettings, Source, compare
from snac_exp.report.compare.folder import Sound, write_comparison
from snac_exp.report.compare.sounds import listening_of
from tests.report.folders import make_run


def test_sound_of_the_same_speech_only(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, seed=seed, speech=speech, clips=2)
            for name, seed, speech in (("a", 0, 0), ("b", 1, 0), ("c", 2, 50))]  # fmt: skip
    found = compare([Source(path, path.name) for path in runs], ComparisonSettings(metric="val/objective"))
    listening = listening_of(found, blind=False, seed=0, most_megabytes=10)
    assert [grid.title for grid, _ in listening.grids] == ["clip0", "clip1"]
    grid = listening.grids[0][0]
    assert grid.columns == ["1 · a", "2 · b"]
    assert [(row.label, len(row.cells)) for row in grid.rows] == [("reference 48k", 1), ("48k", 2), ("24k", 2)]
    assert grid.about == "epoch 2"
    assert listening.notes == ["2 clips are of speech that no other run has, so they are not set side by side"]
    small = listening_of(found, blind=False, seed=0, most_megabytes=0.03)
    assert (small.grids, len(small.notes)) == ([], 3)


def test_blind_orders_are_fair_and_repeat(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    keys = [shuffled(names, seed, "clip0, 48k") for seed in range(600)]
    for key in keys:
        assert sorted(key.order) == [0, 1, 2]
        assert key.places[-1] == key.places[key.letters.index(key.x)]
        assert key.key() == {
            "letters": {letter: names[at] for letter, at in zip("ABC", key.order, strict=True)},
            "x": key.x,
        }
    assert keys == [shuffled(names, seed, "clip0, 48k") for seed in range(600)]
    for letter in range(3):
        assert np.bincount([key.order[letter] for key in keys], minlength=3) == pytest.approx([200] * 3, abs=45)
    assert np.bincount([LETTERS.index(key.x) for key in keys]) == pytest.approx([200] * 3, abs=45)
    with pytest.raises(ConfigError, match="letters for 25 runs, not 26"):
        shuffled(["run"] * 26, 0, "x")


@pytest.mark.slow
def test_a_blind_page_tells_nothing_before_it_is_asked(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, seed=seed, clips=2) for name, seed in (("apple", 0), ("berry", 1))]
    sources = [Source(path, path.name) for path in runs]
    write_comparison(sources, ComparisonSettings(), Sound(blind=True, seed=4), tmp_path / "out")
    keys = json.loads((tmp_path / "out" / "key.json").read_text())
    assert list(keys) == [f"clip{clip}, {rate}" for clip in (0, 1) for rate in ("48k", "24k")]
    assert all(sorted(key["letters"].values()) == ["apple", "berry"] and key["x"] in "AB" for key in keys.values())
    page = (tmp_path / "out" / "comparison.html").read_text()
    listen = page.partition('<section id="listen">')[2].partition("</section>")[0]
    assert listen.count("<audio") == 4 * (1 + 3)
    assert "apple" not in listen
    assert "berry" not in listen
    assert "<img" not in listen  # a spectrogram would tell
    write_comparison(sources, ComparisonSettings(), Sound(), tmp_path / "seen")
    assert not (tmp_path / "seen" / "key.json").exists()
