"""Speech-like 48 kHz audio made from numbers alone, so that tests and the demo need no recordings and no network.

Same seed, same machine, same samples. Above 12 kHz there is real energy (sibilants, bursts, breath) that follows from
the sound and the voice, hence from the band below; its level swings by tens of decibels from phone to phone.
"""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from snac_exp.config.seeding import derive_seed, generator
from snac_exp.data.demo.phones import FRAMES_PER_SECOND, compose_score
from snac_exp.data.demo.vocal_tract import HOP_SAMPLES, SAMPLE_RATE, Voice, render
from snac_exp.system.files import atomic_path

__all__ = ["SAMPLE_RATE", "Voice", "synthesize_utterance", "voices", "write_demo_speech"]

FLOOR_AMPLITUDE = 5e-5  # a quiet room's noise: recordings are never digitally silent
SHORT_EVERY = 8  # one utterance in eight is shorter than a second


def voices(num_train: int, num_validation: int, seed: int) -> list[Voice]:
    """Training voices `voice00`…, then validation voices `val_voice00`…, which share no parameters with them."""
    train = [_voice(f"voice{index:02d}", generator(seed, "train_voice", index), index) for index in range(num_train)]
    names = [f"val_voice{index:02d}" for index in range(num_validation)]
    return train + [_voice(name, generator(seed, "validation_voice", i), i) for i, name in enumerate(names)]


def _voice(name: str, rng: np.random.Generator, index: int) -> Voice:
    """Low and high voices alternate; within a kind, a longer tract goes with a lower pitch."""
    low = index % 2 == 0
    size = float(rng.uniform(-1, 1))
    f0_hz = (115.0 if low else 205.0) * 2 ** (0.35 * size + 0.1 * float(rng.uniform(-1, 1)))
    return Voice(
        name=name,
        f0_hz=f0_hz,
        formant_scale=(0.98 if low else 1.13) * 2 ** (0.09 * size),
        melody_semitones=float(rng.uniform(2.0, 5.0)),
        speaking_rate=float(rng.uniform(0.85, 1.15)),
        tilt_hz=float(rng.uniform(1200, 3000)),
        breathiness=float(10 ** rng.uniform(-1.3, -0.5)),
        jitter=float(rng.uniform(0.003, 0.012)),
        shimmer=float(rng.uniform(0.02, 0.08)),
        vibrato_semitones=float(rng.uniform(0.0, 0.3)),
        sibilance_scale=(0.94 if low else 1.08) * 2 ** (0.08 * size),
        colour_db=tuple(float(value) for value in rng.normal(0.0, 2.0, size=20)),
    )


def synthesize_utterance(voice: Voice, seed: int, seconds_target: float) -> NDArray[np.float32]:
    """One utterance of exactly `round(seconds_target * 48000)` samples, (N,), float32, peak between 0.4 and 0.9.

    Raises ValueError under 0.2 s, where no syllable fits.
    """
    if seconds_target < 0.2:
        raise ValueError(f"seconds_target is {seconds_target}; a syllable needs at least 0.2 s")
    num_samples = round(seconds_target * SAMPLE_RATE)
    num_frames = -(-num_samples // HOP_SAMPLES)
    rng = generator(seed, f"utterance of {voice.name}")
    score = compose_score(rng, num_frames, voice.speaking_rate, voice.melody_semitones)
    audio = render(score, voice, rng)[:num_samples]
    audio *= rng.uniform(0.4, 0.9) / np.abs(audio).max()
    audio += FLOOR_AMPLITUDE * rng.standard_normal(num_samples)
    return np.asarray(np.clip(audio, -0.9, 0.9), dtype=np.float32)


def write_demo_speech(
    directory: Path, num_minutes: float, seed: int, num_train_voices: int = 12, num_validation_voices: int = 4
) -> None:
    """Write `directory/VOICE/utt000.flac`… (16 bit), one folder per speaker; every voice speaks for the same time.

    Files that already exist are kept, so an interrupted call can be repeated. Utterances last 2 to 8 s, one in eight
    0.4 to 0.9 s.
    """
    speakers = voices(num_train_voices, num_validation_voices, seed)
    for number, voice in enumerate(speakers):
        for index, seconds in enumerate(_durations(seed, number, num_minutes * 60 / len(speakers))):
            path = Path(directory) / voice.name / f"utt{index:03d}.flac"
            if path.exists():
                continue
            audio = synthesize_utterance(voice, derive_seed(seed, "demo_utterance", number, index), seconds)
            with atomic_path(path) as temporary:
                soundfile.write(temporary, audio, SAMPLE_RATE, subtype="PCM_16", format="FLAC")


def _durations(seed: int, speaker: int, total_seconds: float) -> list[float]:
    """Lengths of one speaker's utterances, in whole 5 ms frames, up to `total_seconds` together (at least one)."""
    rng = generator(seed, "demo_durations", speaker)
    seconds: list[float] = []
    while sum(seconds) < total_seconds:
        short = len(seconds) % SHORT_EVERY == 3
        drawn = rng.uniform(0.4, 0.9) if short else rng.uniform(2.0, 8.0)
        seconds.append(round(float(drawn) * FRAMES_PER_SECOND) / FRAMES_PER_SECOND)
    return seconds
