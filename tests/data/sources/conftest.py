"""A small corpus of two voices."""

import numpy as np
import pytest
import soundfile

from tests.data.sources.kinds import RATE, Utterance, utterances_of


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    audio = tmp_path_factory.mktemp("few") / "audio"
    for number in range(4):
        file = audio / f"voice{number // 2}" / f"utt{number}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, RATE // 2 + number)
        soundfile.write(file, samples, RATE, "PCM_16")
    return utterances_of(audio)
