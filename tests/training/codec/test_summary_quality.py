import importlib.util

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.errors import ConfigError


def composed(*arguments: str) -> None:
    compose_experiment(["+experiment=phase12_dual_head", "data.cache_dir=/data/codes", *arguments])


@pytest.mark.slow
def test_measures_of_the_summary_are_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.summary_quality=\['pitch'\] is not valid: choose some of dnsmos"):
        composed("trainer.summary_quality=[pitch]")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "parselmouth" else find(name))
    with pytest.raises(ConfigError, match=r"trainer\.summary_quality=\['f0'\]: .*pip install 'snac_exp\[quality\]'"):
        composed("trainer.summary_quality=[f0]")
    composed("trainer.summary_quality=[dnsmos]")


def test_a_token_model_has_no_audio_to_measure() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.summary_quality measures audio"):
        compose_experiment(["+experiment=rvq_toy", "data.cache_dir=/data/codes", "trainer.summary_quality=[dnsmos]"])
