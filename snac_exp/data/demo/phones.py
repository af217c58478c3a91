"""The demo language: phones, syllables and phrases, written down as vocal tract controls at 200 frames a second.

The language is nobody's; what matters is that its sounds have the physics of speech: moving formants, sibilants whose
spectrum reaches 20 kHz, closures, bursts, aspiration, nasal murmurs, stress, intonation and pauses.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 200  # of the controls
FRICATION_KNOTS_HZ = (0, 500, 1500, 2500, 3500, 5000, 6500, 8000, 10000, 12000, 15000, 18000, 21000, 24000)
# Spectrum of turbulence at these knots in dB, by fricative or burst.
FRICATION_DB = {
    "s": (-55, -45, -38, -30, -20, -8, 0, 0, -3, -7, -13, -18, -24, -32),
    "sh": (-45, -35, -18, -3, 0, -2, -6, -10, -16, -22, -30, -36, -42, -48),
    "f": (-16, -12, -10, -10, -9, -8, -6, -5, -4, -4, -6, -9, -14, -20),
    "th": (-22, -20, -16, -14, -12, -9, -5, -2, 0, -2, -6, -10, -15, -22),
    "x": (-25, -10, 0, -3, -10, -14, -20, -24, -30, -34, -40, -44, -48, -52),
    "p": (0, -2, -6, -10, -14, -17, -19, -21, -23, -25, -29, -33, -38, -44),
    "t": (-30, -22, -16, -10, -5, 0, 0, -2, -6, -9, -14, -18, -24, -30),
    "k": (-25, -15, -2, 0, -6, -10, -14, -18, -22, -26, -32, -36, -42, -48),
}
# F1, F2 and F3 of each vowel, in Hz.
VOWELS = {
    "i": (280, 2250, 2950),
    "I": (390, 1990, 2550),
    "e": (440, 2050, 2600),
    "E": (560, 1800, 2500),
    "ae": (680, 1680, 2400),
    "a": (750, 1250, 2500),
    "A": (700, 1050, 2600),
    "o": (460, 850, 2450),
    "u": (310, 850, 2250),
    "y": (270, 1850, 2150),
    "@": (500, 1500, 2500),
}
# F1, F2 and F3 in Hz that vowels move from and to beside a consonant of this place.
LABIAL, ALVEOLAR, PALATAL, VELAR = (300, 900, 2250), (320, 1750, 2650), (290, 2150, 2850), (310, 1900, 2250)


class Segment(NamedTuple):
    """A stretch of constant articulatory targets; `formants_hz` None takes those of the next segment that has some."""

    seconds: float
    formants_hz: tuple[float, float, float] | None = None
    voicing: float = 0.0
    aspiration: float = 0.0
    frication: float = 0.0
    spectrum: str = "f"
    nasal_zero_hz: float = 0.0


def _stop(place: tuple[float, float, float], spectrum: str, burst: float, voice_onset: float) -> tuple[Segment, ...]:
    voiced = voice_onset < 0.02  # s
    return (
        Segment(0.055, place, voicing=0.06 if voiced else 0.0),
        Segment(0.010, place, frication=burst, spectrum=spectrum),
        Segment(voice_onset, None, aspiration=0.5, frication=0.12 * burst, spectrum=spectrum),
    )


CONSONANTS: dict[str, tuple[Segment, ...]] = {
    "s": (Segment(0.11, ALVEOLAR, frication=0.55, spectrum="s"),),
    "z": (Segment(0.08, ALVEOLAR, voicing=0.3, frication=0.3, spectrum="s"),),
    "sh": (Segment(0.11, PALATAL, frication=0.6, spectrum="sh"),),
    "zh": (Segment(0.08, PALATAL, voicing=0.3, frication=0.3, spectrum="sh"),),
    "f": (Segment(0.09, LABIAL, frication=0.16, spectrum="f"),),
    "v": (Segment(0.06, LABIAL, voicing=0.35, frication=0.06, spectrum="f"),),
    "th": (Segment(0.09, ALVEOLAR, frication=0.14, spectrum="th"),),
    "x": (Segment(0.09, VELAR, frication=0.5, spectrum="x"),),
    "h": (Segment(0.06, None, aspiration=0.7),),
    "p": _stop(LABIAL, "p", 0.5, 0.045),
    "t": _stop(ALVEOLAR, "t", 0.8, 0.050),
    "k": _stop(VELAR, "k", 0.8, 0.055),
    "b": _stop(LABIAL, "p", 0.35, 0.008),
    "d": _stop(ALVEOLAR, "t", 0.45, 0.010),
    "g": _stop(VELAR, "k", 0.5, 0.015),
    "ch": (Segment(0.05, ALVEOLAR), Segment(0.01, ALVEOLAR, 0, 0, 0.8, "t"), Segment(0.06, PALATAL, 0, 0, 0.6, "sh")),
    "ts": (Segment(0.05, ALVEOLAR), Segment(0.01, ALVEOLAR, 0, 0, 0.8, "t"), Segment(0.07, ALVEOLAR, 0, 0, 0.5, "s")),
    "m": (Segment(0.07, LABIAL, voicing=0.55, nasal_zero_hz=850),),
    "n": (Segment(0.06, ALVEOLAR, voicing=0.55, nasal_zero_hz=1500),),
    "ng": (Segment(0.07, VELAR, voicing=0.5, nasal_zero_hz=2600),),
    "l": (Segment(0.06, (350, 1150, 2700), voicing=0.65),),
    "r": (Segment(0.06, (370, 1250, 1700), voicing=0.65),),
    "w": (Segment(0.06, (310, 700, 2200), voicing=0.6),),
    "j": (Segment(0.06, (280, 2200, 3000), voicing=0.6),),
}
PLAIN_ONSETS = tuple(CONSONANTS)[:17]  # from s to ts; nasals, liquids and glides follow by name
CLUSTERS = ("s+t", "s+p", "s+k", "t+r", "k+l", "p+l", "f+r")
ONSETS = (*PLAIN_ONSETS, "m", "n", "l", "r", "w", "j", *CLUSTERS, "s", "s", "sh", "t")  # s, sh, t are drawn more often
CODAS = ("n", "m", "ng", "s", "t", "k", "l", "f", "sh", "x", "n+t", "s+t", "k+s", "th", "s", "z")


@dataclass(frozen=True)
class Score:
    """Controls of the vocal tract, one row per frame of 5 ms; amplitudes are linear, 1 is a stressed vowel."""

    semitones: NDArray[np.float64]
    formants_hz: NDArray[np.float64]
    voicing: NDArray[np.float64]
    aspiration: NDArray[np.float64]
    frication: NDArray[np.float64]
    frication_db: NDArray[np.float64]
    nasality: NDArray[np.float64]
    nasal_zero_hz: NDArray[np.float64]


class _Placed(NamedTuple):
    segment: Segment
    semitones: float
    frication_db: NDArray[np.float64]


def compose_score(rng: np.random.Generator, num_frames: int, speaking_rate: float, melody_semitones: float) -> Score:
    """Speak random phrases for exactly `num_frames` frames: whole syllables, their durations scaled to fit."""
    wanted = num_frames / FRAMES_PER_SECOND
    # Utterances begin and end in a pause, a shorter one where they are short themselves.
    edge = min(0.12, 0.08 * wanted)
    placed = [_pause(edge)]
    while sum(item.segment.seconds for item in placed) < wanted - edge:
        placed += _phrase(
            rng, wanted - edge - sum(item.segment.seconds for item in placed), speaking_rate, melody_semitones
        )
    placed.append(_pause(edge))
    return _to_frames(placed, num_frames)


def _pause(seconds: float) -> _Placed:
    return _Placed(Segment(seconds, VOWELS["@"]), 0.0, np.array(FRICATION_DB["f"], dtype=np.float64))


def _phrase(rng: np.random.Generator, room_seconds: float, rate: float, melody: float) -> list[_Placed]:
    """4 to 12 syllables on a falling line with accents, closed by a pause; stops early when the room is used up."""
    num_syllables = int(rng.integers(4, 13))
    final = rng.choice([-2.0, -1.0, 1.5])
    placed: list[_Placed] = []
    for index in range(num_syllables):
        position = index / num_syllables
        stress = rng.random() < 0.4
        semitones = melody * (0.6 - 1.2 * position + (0.8 * rng.random() if stress else 0.0) - 0.2 * rng.random())
        semitones += final * (position > 0.8)
        placed += _syllable(rng, bool(stress), semitones, rate)
        if sum(item.segment.seconds for item in placed) >= room_seconds:
            return placed
    return [*placed, _pause(float(rng.uniform(0.12, 0.45)))]


def _syllable(rng: np.random.Generator, stress: bool, semitones: float, rate: float) -> list[_Placed]:
    onset = str(rng.choice(ONSETS)).split("+") if rng.random() < 0.9 else []
    coda = str(rng.choice(CODAS)).split("+") if rng.random() < 0.35 else []
    loudness = rng.uniform(0.75, 1.0) if stress else rng.uniform(0.35, 0.75)
    seconds = rng.uniform(0.11, 0.22) if stress else rng.uniform(0.05, 0.11)
    nuclei = rng.choice(list(VOWELS), size=2 if stress and rng.random() < 0.4 else 1, replace=False)
    segments = [segment for name in onset for segment in CONSONANTS[name]]
    segments += [Segment(seconds / len(nuclei), VOWELS[str(name)], voicing=loudness) for name in nuclei]
    segments += [segment for name in coda for segment in CONSONANTS[name]]
    return [_perform(rng, segment, semitones, rate, loudness) for segment in segments]


def _perform(rng: np.random.Generator, segment: Segment, semitones: float, rate: float, loudness: float) -> _Placed:
    """One speaking of a segment: its own duration, formants, level and spectral tilt."""
    effort = 0.5 + 0.5 * loudness
    tilt_db_per_octave = 1.5 * rng.standard_normal()
    knots = np.maximum(np.array(FRICATION_KNOTS_HZ, dtype=np.float64), 250.0)
    spectrum = np.array(FRICATION_DB[segment.spectrum]) + tilt_db_per_octave * np.log2(knots / 5000.0)
    varied = segment._replace(
        seconds=segment.seconds / rate * float(rng.uniform(0.8, 1.25)),
        formants_hz=segment.formants_hz and _detuned(rng, segment.formants_hz),
        voicing=segment.voicing * (effort if segment.voicing < 0.7 else 1.0),
        aspiration=segment.aspiration * effort * float(rng.uniform(0.6, 1.2)),
        frication=segment.frication * effort * float(rng.uniform(0.6, 1.3)),
    )
    return _Placed(varied, semitones, spectrum)


def _detuned(rng: np.random.Generator, formants_hz: tuple[float, float, float]) -> tuple[float, float, float]:
    first, second, third = (formant * float(rng.normal(1.0, 0.03)) for formant in formants_hz)
    return first, second, third


def _to_frames(placed: list[_Placed], num_frames: int) -> Score:
    """One row of controls per frame, (frames,) or (frames, D), each as smooth as its articulators are slow."""
    ends = np.cumsum([item.segment.seconds for item in placed])
    owner = np.searchsorted(ends / ends[-1], (np.arange(num_frames) + 0.5) / num_frames)
    formants: list[tuple[float, float, float]] = []
    following: tuple[float, float, float] = VOWELS["@"]
    # Backwards: the aspiration of h and of stops has the formants of what comes next.
    for item in reversed(placed):
        following = item.segment.formants_hz or following
        formants.append(following)
    segments = [item.segment for item in placed]
    nasal = np.array([segment.nasal_zero_hz for segment in segments], dtype=np.float64)[owner]

    def track(values: object, seconds: float) -> NDArray[np.float64]:
        return _smooth(np.asarray(values, dtype=np.float64)[owner], seconds)

    return Score(
        semitones=track([item.semitones for item in placed], 0.15),
        formants_hz=track(formants[::-1], 0.07),
        voicing=track([segment.voicing for segment in segments], 0.035),
        aspiration=track([segment.aspiration for segment in segments], 0.02),
        frication=track([segment.frication for segment in segments], 0.02),
        frication_db=track([item.frication_db for item in placed], 0.02),
        nasality=_smooth((nasal > 0).astype(np.float64), 0.03),
        # Where nothing is nasal the zero lies on the pole at 1 kHz, and both cancel.
        nasal_zero_hz=np.where(nasal > 0, nasal, 1000.0),
    )


def _smooth(values: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """Convolve (frames,) or (frames, D) along time with a Hann kernel of `seconds`, edges held."""
    half = max(1, round(seconds * FRAMES_PER_SECOND / 2))
    kernel = np.hanning(2 * half + 3)[1:-1]
    padded = np.pad(values, [(half, half)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=0)
    return np.asarray(windows @ (kernel / kernel.sum()))
