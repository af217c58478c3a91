"""What one can hear and see of a model: a few fixed validation clips, with metrics of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.heads import NativeHead
from snac_exp.codec.multirate import MultiRateSnac, head_name
from snac_exp.config.schema import Experiment
from snac_exp.config.seeding import derive_seed
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.data.slices.batch import Batch, collate
from snac_exp.data.slices.sampling import SliceSpec
from snac_exp.data.slices.splits import Splits
from snac_exp.metrics.table import chosen_metrics, measured
from snac_exp.release.outputs import labels_of, rate_label
from snac_exp.system.torchaudio import functional as F_audio
from snac_exp.tracking.clip_rows import write_clip_rows
from snac_exp.tracking.panels import write_clips
from snac_exp.training.codec.decoder_task import DecoderTask

# Perceptual metrics need whole utterances.
_OF_SLICES = tuple(metric for metric in chosen_metrics() if metric.perceptual_rate is None)

Clip = tuple[Tensor, int]
"""A waveform (N,) on the CPU and its sampling rate in Hz."""


@torch.no_grad()
def write_samples(
    task: DecoderTask,
    splits: Splits,
    experiment: Experiment,
    fabric: Fabric,
    directory: Path,
    codec: LoadedCodec | None = None,
) -> None:
    """Write the first validation clips: `clipN_reference_48k`, `_pretrained_24k`, `_24k` and `_48k` as wav, one picture
    of their spectrograms, and clips.json with a row of metrics for each estimate.

    The pretrained clip is what the unmodified `codec` makes of the same tokens (of the same audio, where that is
    encoded in the step); None leaves it out. All draw the same noise, at every validation.
    """
    if not fabric.is_global_zero:
        return
    original = None if codec is None else _original(codec).to(fabric.device)
    rows: list[dict[str, Any]] = []
    for index, spec in enumerate(splits.validation_specs[: experiment.trainer.num_sample_clips]):
        batch = collate([splits.validation[spec]]).to(fabric.device)
        # By the clip alone: the same noise at every epoch, so what changes is the model.
        task.seed_noise(experiment.seed, "samples", index)
        with fabric.autocast():
            waveforms = task.decode(batch)
        clips = _targets_and_outputs(task, batch, waveforms)
        if original is not None:
            torch.manual_seed(derive_seed(experiment.seed, "samples", index))
            clips["pretrained"] = _decoded_by(original, batch)
        rows += [_about(splits, spec, index) | row for row in _scores(clips, task.model)]
        write_clips(directory, f"clip{index}", _labelled(clips))
    if rows:
        write_clip_rows(directory, rows)


def _original(codec: LoadedCodec) -> MultiRateSnac:
    """The codec as it was loaded, on copies of its modules."""
    return MultiRateSnac.from_codec(codec, {head_name(codec.geometry.sampling_rate): NativeHead}).eval()


def _targets_and_outputs(task: DecoderTask, batch: Batch, waveforms: Mapping[str, Tensor]) -> dict[str, Clip]:
    """`target/HEAD` and `HEAD` of every head, from waveforms (B, 1, N) of one row, without padding."""
    clips: dict[str, Clip] = {}
    for head, rate in task.model.rates.items():
        length = int(batch.valid_samples[0]) * rate // task.model.geometry.sampling_rate
        clips[f"target/{head}"] = (batch.audio[head][0, 0, :length].float().cpu(), rate)
        clips[head] = (waveforms[head][0, 0, :length].float().cpu(), rate)
    return clips


def _decoded_by(model: MultiRateSnac, batch: Batch) -> Clip:
    """The scored slice of a one-row batch at the codec's own rate, decoded by another model in plain float32."""
    with exact_float32():
        codes = batch.codes if batch.source is None else model.encode(batch.source)
        (waveform,) = model(model.features(model.latent(codes, batch.window_tokens_valid))).values()
    start = int(batch.slice_offset[0]) * model.geometry.coarse_hop
    scored = waveform[0, 0, start : start + int(batch.valid_samples[0])]
    return scored.float().cpu(), model.geometry.sampling_rate


def _labelled(clips: Mapping[str, Clip]) -> dict[str, Clip]:
    """Label of the file -> clip, in the order of the picture: widest target, pretrained codec, narrow to wide."""
    heads = sorted((name for name in clips if f"target/{name}" in clips), key=lambda name: clips[name][1])
    labels = labels_of({head: clips[head][1] for head in heads})
    widest = clips[f"target/{heads[-1]}"]
    labelled = {f"reference_{rate_label(widest[1])}": widest}
    if "pretrained" in clips:
        labelled[f"pretrained_{rate_label(clips['pretrained'][1])}"] = clips["pretrained"]
    return labelled | {labels[head]: clips[head] for head in heads}


def _scores(clips: Mapping[str, Clip], model: MultiRateSnac) -> list[dict[str, Any]]:
    """A row per estimate: signal (as in the file's name), rate_hz, seconds, distances from the target of its rate."""
    rows = []
    # The first one is the reference itself.
    for label, (waveform, rate) in list(_labelled(clips).items())[1:]:
        reference = _reference(clips, rate)
        scores = measured(reference, waveform, rate, native_high_band=True, metrics=_OF_SLICES)
        rows.append({"signal": label, "rate_hz": rate, "seconds": waveform.numel() / rate} | scores)
    return rows


def _reference(clips: Mapping[str, Clip], rate: int) -> Tensor:
    """The target (N,) of a rate; a recipe without a head of that rate has a wider one, which is resampled."""
    targets = {found: waveform for name, (waveform, found) in clips.items() if name.startswith("target/")}
    if rate not in targets:
        # Down, never up: the widest target has all that a narrower one needs.
        wider = max(targets)
        resampled: Tensor = F_audio.resample(targets[wider], wider, rate)
        return resampled
    return targets[rate]


def _about(splits: Splits, spec: SliceSpec, index: int) -> dict[str, Any]:
    seconds = spec.start * splits.validation.geometry.coarse_hop / splits.validation.geometry.sampling_rate
    return {"clip": f"clip{index}", "file": splits.validation.path(spec.row), "start_seconds": seconds}
