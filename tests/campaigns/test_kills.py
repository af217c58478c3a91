"""One run of the campaign, killed where a file is written and not yet listed, and at a moment that its seed draws."""

import re
from pathlib import Path

import pytest

from tests.campaigns.kills import EQUAL, Kills, compared
from tests.campaigns.points import PARTS
from tests.helpers.tiny_runs import tiny  # noqa: F401 (fixture)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits_and_leaves_nothing(tiny: list[str], tmp_path: Path) -> None:  # noqa: F811
    kills = Kills([item for item in tiny if not item.startswith("output_dir=")], tmp_path, seed=0)
    whole = kills.whole()
    assert {*PARTS, "rename checkpoint_epochN.pt", "rename latest.json", "rename report.html"} < set(whole.points)
    assert not [point for point in whole.points if re.search(r"[0-9]{4}|\.\w{8}\.tmp|epoch[0-9]", point)]
    folder, times = kills.killed(1, "rename latest.json", whole, 2)
    assert kills.where["at rename latest.json"] == 1
    assert 1 <= times == kills.where.total() <= 2
    assert compared(folder, whole.folder) == EQUAL
    (folder / ".latest.json.abcdefgh.tmp").touch()
    assert compared(folder, whole.folder) == "leftovers: .latest.json.abcdefgh.tmp"
