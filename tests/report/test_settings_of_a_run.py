"""What a run's config differs from is composed once, and anew when a file of the defaults changes."""

import os
import shutil
from pathlib import Path

import pytest

from snac_exp.config import compose
from snac_exp.report import settings


@pytest.mark.slow
def test_a_changed_default_is_seen_by_the_next_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(compose.config_dir(), tmp_path / "conf"))
    for module in (compose, settings):
        monkeypatch.setattr(module, "config_dir", lambda: folder)
    train = folder / "train.yaml"
    assert default_of("seed") == "0"
    monkeypatch.setattr(settings, "compose_config", None)  # not composed again while nothing changed
    assert default_of("seed") == "0"
    monkeypatch.setattr(settings, "compose_config", compose.compose_config)
    train.write_text(train.read_text().replace("\nseed: 0", "\nseed: 5"))
    os.utime(train, ns=(0, train.stat().st_mtime_ns + 1_000_000_000))
    assert default_of("seed") == "5"


def default_of(key: str) -> str:
    found, unknown = settings.differs_from_defaults({})
    assert unknown is None
    return next(item.values[0] for item in found if item.key == key)
