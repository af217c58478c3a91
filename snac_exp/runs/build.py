"""The parts of a run from its experiment: codec, corpus, task, parameter groups."""

import importlib
from dataclasses import dataclass
from functools import partial
from typing import Any

from snac_exp.codec.checkpoint import LoadedCodec, load_codec
from snac_exp.codec.geometry import check_declared
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.start import initialise
from snac_exp.config.schema import Codec, Component, Experiment
from snac_exp.data.cached_codes import Corpus, SliceDataset
from snac_exp.errors import ConfigError
from snac_exp.training.groups import ParameterGroups, group_parameters
from snac_exp.training.task import DecoderTask


@dataclass(frozen=True)
class Parts:
    """What a run consists of before its first step."""

    codec: LoadedCodec
    corpus: Corpus
    task: DecoderTask
    groups: ParameterGroups


def build(experiment: Experiment) -> Parts:
    """Load the codec, build the model at its start, open the corpus, sort the parameters.

    Raises:
        CodecError, DataError, ConfigError: something is missing or does not fit; the message names the mend.
    """
    codec = open_codec(experiment.codec)
    task = DecoderTask(build_model(experiment, codec), experiment.loss)
    frozen = [("encoder.", experiment.task.freeze_encoder), ("quantizer.", experiment.task.freeze_vq)]
    groups = group_parameters(
        task.model, experiment.lr.groups, tuple(prefix for prefix, is_frozen in frozen if is_frozen)
    )
    corpus = instantiate(experiment.data, "data").open(codec, task.model.rates, experiment.seed)
    if experiment.augment.gain_db is not None and isinstance(corpus.train, SliceDataset):
        raise ConfigError(
            "augment.gain_db changes input and target alike, and cached codes have the level they were cached at; "
            "choose augment=none or data=audio_folder"
        )
    return Parts(codec, corpus, task, groups)


def open_codec(codec: Codec) -> LoadedCodec:
    """The checkpoint of a codec config; its geometry must be the declared one."""
    loaded = load_codec(codec.name, codec.path, codec.hub_id, codec.bundled)
    if codec.geometry is not None:
        check_declared(loaded.geometry, codec.geometry)
    return loaded


def build_model(experiment: Experiment, codec: LoadedCodec) -> MultiRateSnac:
    """The model at step 0: a function of config and checkpoint alone; torch's generator stays where it was."""
    factories = {name: partial(instantiate, part, f"heads.{name}") for name, part in experiment.heads.items()}
    model = MultiRateSnac.from_codec(codec, factories, experiment.seed)
    initialise(model, codec, experiment.init.name, experiment.seed)
    return model


def instantiate(component: Component, path: str, *arguments: Any) -> Any:
    """Call the class or function that a component names with its options."""
    module, _, name = component.target.rpartition(".")
    target = getattr(importlib.import_module(module), name)
    try:
        return target(*arguments, **component.options)
    except TypeError as error:
        raise ConfigError(f"{path}: {component.target} cannot be built with {component.options}: {error}") from error
