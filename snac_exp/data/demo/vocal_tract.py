"""Source and filter of the demo voices: glottal pulses and noise through moving resonances, all frames at once.

Each 10 ms Hann slice of the excitation is multiplied by its frame's transfer function and overlap-added. The functions
are products of digital resonators (Klatt, "Software for a cascade/parallel formant synthesizer", JASA 1980), hence
causal; the glottal formant is anticausal, as in LF pulses (Doval et al., "The spectrum of glottal flow models", 2006).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snac_exp.data.demo.phones import FRAMES_PER_SECOND, FRICATION_KNOTS_HZ, Score

SAMPLE_RATE = 48_000
HOP_SAMPLES = SAMPLE_RATE // FRAMES_PER_SECOND
FFT_SAMPLES = 2048  # a slice has 480; the rest is room for the ringing of its resonances
FREQUENCIES_HZ = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE)
DELAY = np.exp(-2j * np.pi * FREQUENCIES_HZ / SAMPLE_RATE).astype(np.complex64)  # z^-1
HIGHER_FORMANTS_HZ = (3500.0, 4500.0, 5500.0)  # F4 to F6

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex64]


@dataclass(frozen=True)
class Voice:
    """One speaker: everything that differs between speakers and does not change within one."""

    name: str
    f0_hz: float
    formant_scale: float  # 1 is a tract of 17.5 cm; shorter tracts scale all resonances up
    melody_semitones: float
    speaking_rate: float
    tilt_hz: float  # where the glottal source starts to fall by 12 instead of 6 dB per octave
    breathiness: float  # aspiration amplitude during voicing
    jitter: float
    shimmer: float
    vibrato_semitones: float
    sibilance_scale: float  # moves the fricatives' spectra up or down
    colour_db: tuple[float, ...]  # small deviations of the higher resonances' bandwidths


def render(score: Score, voice: Voice, rng: np.random.Generator) -> Floats:
    """Audio of a score at 48 kHz, shape (frames * 240,), at the synthesiser's own level."""
    pulses, phase = _pulse_train(score, voice, rng)
    noise = rng.standard_normal(len(pulses))
    # Breath swells and fades once per glottal cycle while there is voice.
    breath = noise * (1.0 + 0.7 * np.cos(2 * np.pi * phase) * np.repeat(np.minimum(score.voicing * 3, 1), HOP_SAMPLES))
    tract = _tract(score, voice)
    voiced = _spectra(pulses) * _glottal(score, voice) * tract
    aspiration = score.aspiration + voice.breathiness * score.voicing
    voiced += _spectra(breath) * (0.014 * aspiration[:, None] * _breath_shape()).astype(np.complex64) * tract
    voiced += _spectra(rng.standard_normal(len(pulses))) * _frication(score, voice)
    return _overlap_add(np.fft.irfft(voiced, axis=-1).astype(np.float32))


def _pulse_train(score: Score, voice: Voice, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Impulses at the glottal closures (split over two samples for their fraction), and the phase within the period."""
    num_samples = len(score.voicing) * HOP_SAMPLES
    frame_time = (np.arange(len(score.voicing)) + 0.5) * HOP_SAMPLES
    vibrato = voice.vibrato_semitones * np.sin(2 * np.pi * 5.5 * np.arange(len(score.voicing)) / FRAMES_PER_SECOND)
    drift = 0.15 * np.convolve(rng.standard_normal(len(score.voicing)), np.hanning(21) / 3.0, mode="same")
    f0_hz = voice.f0_hz * 2 ** ((score.semitones + vibrato + drift) / 12)
    sample_time = np.arange(num_samples)
    phase = np.cumsum(np.interp(sample_time, frame_time, f0_hz)) / SAMPLE_RATE
    num_pulses = int(phase[-1])
    place = np.interp(np.arange(1, num_pulses + 1) + voice.jitter * rng.standard_normal(num_pulses), phase, sample_time)
    gain = np.interp(place, frame_time, score.voicing) * (1 + voice.shimmer * rng.standard_normal(num_pulses))
    index = np.minimum(place.astype(np.int64), num_samples - 2)
    pulses = np.zeros(num_samples)
    # add.at, since two pulses may meet in one sample, of which += would keep one.
    np.add.at(pulses, index, gain * (1 - (place - index)))
    np.add.at(pulses, index + 1, gain * (place - index))
    return pulses, phase % 1.0


def _spectra(signal: Floats) -> Complexes:
    """Spectra of 10 ms Hann slices every 5 ms, shape (frames, bins); the slices add up to the signal."""
    # A periodic Hann window: two of them half a window apart add up to 1.
    window = np.hanning(2 * HOP_SAMPLES + 1)[:-1]
    blocks = np.pad(signal, (0, HOP_SAMPLES)).reshape(-1, HOP_SAMPLES)
    slices = np.concatenate([blocks[:-1], blocks[1:]], axis=1) * window
    return np.asarray(np.fft.rfft(slices.astype(np.float32), FFT_SAMPLES, axis=-1), dtype=np.complex64)


def _overlap_add(slices: NDArray[np.float32]) -> Floats:
    """Slices (frames, samples), one every 5 ms -> their sum (frames * 240,), cut at the end."""
    num_frames, length = slices.shape
    num_parts = -(-length // HOP_SAMPLES)
    parts = np.pad(slices, ((0, 0), (0, num_parts * HOP_SAMPLES - length))).reshape(num_frames, num_parts, HOP_SAMPLES)
    total = np.zeros((num_frames + num_parts, HOP_SAMPLES))
    for part in range(num_parts):
        total[part : part + num_frames] += parts[:, part]
    return total[:num_frames].reshape(-1)


def _resonator_denominator(frequency_hz: Floats, bandwidth_hz: Floats) -> Complexes:
    """1 - 2 r cos(theta) z^-1 + r^2 z^-2, divided by its value at 0 Hz; shapes (frames,) -> (frames, bins)."""
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE)
    first = -2 * radius * np.cos(2 * np.pi * frequency_hz / SAMPLE_RATE)
    second = radius**2
    gain = 1 / (1 + first + second)
    coefficients = [
        np.asarray(value * gain, dtype=np.float32)[:, None] for value in (np.ones_like(first), first, second)
    ]
    return np.asarray(coefficients[0] + DELAY * (coefficients[1] + DELAY * coefficients[2]), dtype=np.complex64)


def _tract(score: Score, voice: Voice) -> Complexes:
    """Vocal tract: three moving formants, fixed ones up to 24 kHz, and a nasal pole with its zero; (frames, bins)."""
    ones = np.ones(len(score.voicing))
    first, second, third = (score.formants_hz[:, k] * voice.formant_scale for k in range(3))
    denominator = _resonator_denominator(first, 60 + 0.04 * first + 60 * score.nasality)
    denominator *= _resonator_denominator(second, 60 + 0.03 * second + 120 * score.nasality)
    denominator *= _resonator_denominator(third, 70 + 0.035 * third + 150 * score.nasality)
    lift = (second / voice.formant_scale - 1500) * 0.12  # front vowels narrow the cavity: higher resonances follow F2
    for number, formant in enumerate(HIGHER_FORMANTS_HZ[:2]):
        moved = (formant + lift) * voice.formant_scale
        denominator *= _resonator_denominator(moved, 180 + 60 * number + 100 * score.nasality)
    zero = _resonator_denominator(1000 + score.nasality * (score.nasal_zero_hz - 1000), 120 * ones)
    murmur = 1 / np.sqrt(1 + (score.nasality[:, None] * 1.2 * FREQUENCIES_HZ / 1000) ** 2)
    pole = _resonator_denominator(1000 * ones[:1], 120 * ones[:1])
    return np.asarray(zero * murmur.astype(np.float32) * _fixed_tract(voice) / (denominator * pole), dtype=np.complex64)


def _fixed_tract(voice: Voice) -> Complexes:
    """The resonances that stand still, F6 to 23.5 kHz, and the throat's side branch (a dip near 4.8 kHz), (1, bins)."""
    response = np.ones((1, len(DELAY)), dtype=np.complex64)
    for number, colour in enumerate(voice.colour_db):
        formant = (HIGHER_FORMANTS_HZ[2] + 1000.0 * number) * voice.formant_scale
        if formant > 23_500:
            break
        bandwidth = (250 + 0.035 * formant) * 10 ** (colour / 20)
        response /= _resonator_denominator(np.array([formant]), np.array([bandwidth]))
    branch = np.array([4800.0 * voice.formant_scale])
    return (
        response
        * _resonator_denominator(branch, np.array([900.0]))
        / _resonator_denominator(branch, np.array([1800.0]))
    )


def _glottal(score: Score, voice: Voice) -> Complexes:
    """Derivative of the glottal flow: +6 dB/octave below the glottal formant, -6 above, -12 above the tilt corner.

    Shape (frames, bins).
    """
    f0_hz = voice.f0_hz * 2 ** (score.semitones / 12)
    glottal_hz = f0_hz * 1.4
    # The conjugate turns time round: this resonance grows towards the closure instead of ringing after it.
    resonance = 1 / np.conj(_resonator_denominator(glottal_hz, 0.9 * glottal_hz))
    corner_hz = voice.tilt_hz * np.clip(score.voicing, 0.15, 1.0)  # soft voices are duller
    pole = np.exp(-2 * np.pi * corner_hz / SAMPLE_RATE).astype(np.float32)[:, None]
    slope = (1 - DELAY) * (SAMPLE_RATE / (2 * np.pi * glottal_hz)).astype(np.float32)[:, None]
    return np.asarray(slope * resonance * (1 - pole) / (1 - pole * DELAY), dtype=np.complex64)


def _breath_shape() -> Floats:
    """Amplitude of turbulence at the glottis: broad, weak below 1 kHz, falling slowly above 8 kHz; (1, bins)."""
    rise = FREQUENCIES_HZ / np.sqrt(FREQUENCIES_HZ**2 + 1500.0**2)
    return np.asarray(rise / (1 + (FREQUENCIES_HZ / 9000.0) ** 2))[None]


def _frication(score: Score, voice: Voice) -> Complexes:
    """Amplitude spectrum of turbulence in the mouth, interpolated in dB between knots; (frames, bins)."""
    knots = np.array(FRICATION_KNOTS_HZ) * voice.sibilance_scale
    weights = np.stack([np.interp(FREQUENCIES_HZ, knots, row) for row in np.eye(len(knots))])
    level_db = score.frication_db @ weights
    return np.asarray(0.038 * score.frication[:, None] * 10 ** (level_db / 20), dtype=np.complex64)
