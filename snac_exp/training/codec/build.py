"""Everything that training a codec needs: its model at the start, its objective, data and parameter groups."""

from collections.abc import Mapping
from functools import partial

import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.from_data.standardise import standardise
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.opening import open_codec
from snac_exp.codec.start import initialise
from snac_exp.config.instantiate import instantiate
from snac_exp.config.schema import Experiment
from snac_exp.data.slices.splits import Splits
from snac_exp.training.codec.adversary import Adversary
from snac_exp.training.codec.autoencoder_task import AutoencoderTask
from snac_exp.training.codec.data_module import CodecDataModule
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.training.codec.evaluator import CodecEvaluator
from snac_exp.training.optimization.groups import group_parameters
from snac_exp.training.plan import unroll
from snac_exp.training.setup import TrainingSetup, loaded_from


def build(experiment: Experiment) -> TrainingSetup:
    """A SNAC with its heads, and what trains as much of it as the recipe leaves unfrozen."""
    codec = open_codec(experiment.codec, experiment.seed)
    model = build_model(experiment, codec)
    task = _task(experiment, model)
    # By prefix and ahead of the patterns: what is frozen here needs no group and gets no rate.
    frozen = {"encoder.": experiment.task.freeze_encoder, "quantizer.": experiment.task.freeze_vq}
    prefixes = tuple(prefix for prefix, value in frozen.items() if value)
    groups = group_parameters(model, experiment.lr.groups, prefixes, task.averages())
    warm_start = loaded_from(experiment, task, groups)
    splits: Splits = instantiate(experiment.data, "data").open(codec, model.rates, experiment.seed)
    data_module = CodecDataModule(experiment, splits, codec.geometry)
    task.draw = partial(data_module.drawn, unroll(experiment, codec.geometry).epochs[0])
    if experiment.start.standardise_batches:
        _standardise(experiment, codec, task)
    return TrainingSetup(
        codec=codec,
        splits=splits,
        task=task,
        data_module=data_module,
        evaluator=CodecEvaluator(experiment, codec, splits, task, partial(build_model, experiment, codec)),
        groups=groups,
        provenance={"name": codec.name, "fingerprint": codec.fingerprint, "config": codec.config},
        warm_start=warm_start,
    )


def build_model(experiment: Experiment, codec: LoadedCodec) -> MultiRateSnac:
    """The model at step 0: a function of config and checkpoint alone; torch's generator stays where it was."""
    factories = {name: partial(instantiate, part, f"heads.{name}") for name, part in experiment.heads.items()}
    model = MultiRateSnac.from_codec(codec, factories, experiment.seed)
    assert experiment.init is not None
    initialise(model, codec, experiment.init.name, experiment.seed)
    return model


def _standardise(experiment: Experiment, codec: LoadedCodec, task: DecoderTask) -> None:
    """Let codec and model start on data; the codec first, since heads are copied from it and compared with it."""
    batches = task.draw("standardise", experiment.start.standardise_batches)
    audio = torch.cat([batch.source for batch in batches if batch.source is not None])
    standardise(codec.model, audio, experiment.seed)
    task.model.load_state_dict(build_model(experiment, codec).state_dict())


def _task(experiment: Experiment, model: MultiRateSnac) -> DecoderTask:
    """The decoder's task, or that of the whole codec where more than the decoder trains; with its adversary."""
    settings = experiment.task
    if settings.freeze_encoder and settings.freeze_vq:
        return DecoderTask(model, experiment.loss, _adversary(experiment, model), experiment.seed)
    own = (experiment.start, experiment.quantizer)
    return AutoencoderTask(model, experiment.loss, settings, _adversary(experiment, model), experiment.seed, *own)


def _adversary(experiment: Experiment, model: MultiRateSnac) -> Adversary | None:
    """Discriminators of the heads that train in any phase; None where the recipe has none."""
    if experiment.adversary.kind == "none":
        return None
    # A head that is measured in every phase needs no adversary: its discriminators would only cost time.
    schedules: list[Mapping[str, float | None]] = [experiment.loss.weights, *experiment.loss.phases.values()]
    trained = {head: rate for head, rate in model.rates.items() if any(item.get(head) for item in schedules)}
    return Adversary(experiment.adversary, trained, experiment.seed)
