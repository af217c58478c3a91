"""Folders of noise to prepare."""

from pathlib import Path

import numpy as np
import soundfile


def write(path: Path, seconds: float = 1.0, seed: int = 0, rate: int = 16000) -> Path:
    """A WAV of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate)), rate)
    return path


def small_corpus(folder: Path, speakers: int = 6, files: int = 3) -> Path:
    """Some files for each of some speakers, all of them different."""
    for speaker in range(speakers):
        for i in range(files):
            write(folder / f"speaker{speaker}" / f"{i}.wav", seconds=0.3 + 0.1 * i, seed=100 * speaker + i)
    return folder
