"""One kill of the campaign, at a moment that its seed draws."""

from pathlib import Path

import pytest

from tests.campaigns.forked import Server
from tests.campaigns.kills import EQUAL, Kills, campaign
from tests.helpers.tiny_runs import tiny  # noqa: F401 (fixture)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits_and_leaves_nothing(tiny: list[str], tmp_path: Path) -> None:  # noqa: F811
    arguments = [item for item in tiny if not item.startswith("output_dir=")]
    with Server() as server:
        found = campaign(Kills(server, arguments, tmp_path, seed=0), 1)
    assert found.pop("kills") >= 1
    assert set(found) == {EQUAL}
