"""What data must provide for a task is checked before torch is imported, for sources of one's own too."""

import re
from pathlib import Path

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.errors import ConfigError


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose_experiment(list(overrides), complete=False)
    return str(caught.value)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's module of data sources, which inherit or declare what they provide."""
    (tmp_path / "lab_sources.py").write_text(
        "from snac_exp.data.slices.cached_codes import CachedCodes\n"
        "class Mine(CachedCodes): ...\n"
        "class Raw(CachedCodes):\n    provides = frozenset({'audio'})\n"
        "class Wrong(CachedCodes):\n    provides = frozenset({'audios'})\n"
        "class Silent:\n    def __init__(self, cache_dir, target_dir, target_delay_seconds, audio_root, limit,\n"
        "        context_tokens, validation_seconds, validation_slices): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_a_source_that_inherits_cached_codes_is_checked_as_they_are(sources: Path) -> None:
    recipe = ["+experiment=phase12_dual_head", "data._target_=lab_sources.Mine"]
    compose_experiment(recipe, complete=False)
    assert "cached codes are of a frozen encoder" in refusal(*recipe, "task=codec")
    raw = [*recipe[:1], "data._target_=lab_sources.Raw", "task=codec"]
    assert compose_experiment(raw, complete=False)[0].data.target == "lab_sources.Raw"


@pytest.mark.slow
def test_a_source_must_say_what_it_provides(sources: Path) -> None:
    recipe = "+experiment=phase12_dual_head"
    assert "lab_sources.Silent does not declare what it provides" in refusal(recipe, "data._target_=lab_sources.Silent")
    assert re.search("provides has 'audios'; did you mean 'audio'", refusal(recipe, "data._target_=lab_sources.Wrong"))


@pytest.mark.slow
def test_what_a_codec_trains_on_has_audio_and_where_the_encoder_trains_no_codes() -> None:
    recipe = "+experiment=phase12_dual_head"
    assert "freeze_encoder=false: cached codes are" in refusal(recipe, "task=codec", "data=demo_speech")
    assert "NpqTokens gives tokens; task=codec needs audio: choose data=cached_codes" in refusal(recipe, "data=npq")


def test_a_token_model_needs_tokens() -> None:
    assert "CachedCodes gives no tokens; choose data=code_cache_tokens" in refusal(
        "+experiment=rvq_toy", "data=cached_codes"
    )
