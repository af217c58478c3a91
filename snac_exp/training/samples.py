"""What one can hear and see of a model: a few fixed validation clips."""

from pathlib import Path

import torch
from lightning_fabric import Fabric

from snac_exp.config.schema import Experiment
from snac_exp.data.batch import collate
from snac_exp.data.cached_codes import Corpus
from snac_exp.tracking.panels import write_clips
from snac_exp.training.task import DecoderTask


@torch.no_grad()
def write_samples(task: DecoderTask, corpus: Corpus, experiment: Experiment, fabric: Fabric, directory: Path) -> None:
    """Write reference and heads of the first clips as wav and one picture each; noise is the same every time."""
    if not fabric.is_global_zero:
        return
    for index, spec in enumerate(corpus.validation_specs[: experiment.trainer.num_sample_clips]):
        batch = collate([corpus.validation[spec]]).to(fabric.device)
        task.seed_noise(experiment.seed, "samples", index)
        with fabric.autocast():
            waveforms = task.decode(batch)
        rates = task.model.rates
        widest = max(rates, key=lambda head: rates[head])
        valid = {head: int(batch.valid_samples[0]) * rates[head] // task.model.geometry.sampling_rate for head in rates}
        signals = {
            f"reference_{widest.removeprefix('head_')}": (
                batch.audio[widest][0, 0, : valid[widest]].float().cpu(),
                rates[widest],
            )
        }
        for head in sorted(rates, key=lambda head: -rates[head]):
            signals[head.removeprefix("head_")] = (waveforms[head][0, 0, : valid[head]].float().cpu(), rates[head])
        write_clips(directory, f"clip{index}", signals)
