"""The parts of a run from its experiment: what is trained, on what, judged how, and with which parameter groups."""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from snac_exp.codec.checkpoint import LoadedCodec, load_codec
from snac_exp.codec.geometry import Geometry, check_declared
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.scratch import fresh_codec
from snac_exp.codec.start import initialise
from snac_exp.config.schema import Codec, Component, Experiment
from snac_exp.config.seeding import derive_seed
from snac_exp.data.slices.cached_codes import SliceDataset
from snac_exp.data.tokens.codecs import listening_codec
from snac_exp.data.tokens.sources import TokenSplits
from snac_exp.errors import ConfigError
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenObjective
from snac_exp.training.codec.adversary import Adversary
from snac_exp.training.codec.autoencoder_task import AutoencoderTask
from snac_exp.training.codec.data_module import CodecDataModule
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.training.codec.evaluator import CodecEvaluator
from snac_exp.training.groups import ParameterGroups, group_parameters
from snac_exp.training.task import DataModule, Evaluator, Task
from snac_exp.training.token_lm.data_module import TokenDataModule
from snac_exp.training.token_lm.evaluator import TokenEvaluator
from snac_exp.training.token_lm.task import TokenTask
from snac_exp.training.warm_start import WarmStart, warm_start


@dataclass(frozen=True)
class Parts:
    """What a run consists of before its first step.

    corpus: the opened data. codec: None where there is no SNAC. identity: what the weights belong to; checkpoints carry
    it. warm_start: what was loaded from `init_from`.
    """

    codec: LoadedCodec | None
    corpus: Any
    task: Task
    feed: DataModule
    judge: Evaluator
    groups: ParameterGroups
    identity: dict[str, Any]
    warm_start: WarmStart | None

    @property
    def geometry(self) -> Geometry | None:
        """What a plan in seconds needs; None without a SNAC."""
        return None if self.codec is None else self.codec.geometry


def build(experiment: Experiment) -> Parts:
    """Build model and task at their start, open the data, sort the parameters.

    Raises:
        CodecError, DataError, ConfigError: something is missing or does not fit; the message names the mend.
    """
    builders: dict[str, Callable[[Experiment], Parts]] = {"codec": build_codec, "rvq_lm": build_token_model}
    return builders[experiment.task.name](experiment)


def build_codec(experiment: Experiment) -> Parts:
    """The parts of training a SNAC decoder and its heads."""
    codec = open_codec(experiment.codec, experiment.seed)
    model = build_model(experiment, codec)
    task = _codec_task(experiment, model)
    frozen = [("encoder.", experiment.task.freeze_encoder), ("quantizer.", experiment.task.freeze_vq)]
    groups = group_parameters(model, experiment.lr.groups, tuple(prefix for prefix, is_frozen in frozen if is_frozen))
    warm = _warm(experiment, task, groups)
    source = instantiate(experiment.data, "data")
    if not hasattr(source, "open"):
        raise ConfigError(f"data: {experiment.data.target} gives tokens only; task=decoder needs audio with them")
    corpus = source.open(codec, model.rates, experiment.seed)
    if experiment.augment.gain_db is not None and isinstance(corpus.train, SliceDataset):
        raise ConfigError(
            "augment.gain_db changes input and target alike, and cached codes have the level they were cached at; "
            "choose augment=none or data=audio_folder"
        )
    judge = CodecEvaluator(experiment, codec, corpus, task, partial(build_model, experiment, codec))
    identity = {"name": codec.name, "fingerprint": codec.fingerprint, "config": codec.config}
    return Parts(
        codec, corpus, task, CodecDataModule(experiment, corpus, codec.geometry), judge, groups, identity, warm
    )


def build_token_model(experiment: Experiment) -> Parts:
    """The parts of training a language model on tokens."""
    assert experiment.lm is not None
    assert experiment.loss.tokens is not None
    codec = open_codec(experiment.codec, experiment.seed) if experiment.codec.kind == "snac" else None
    source = instantiate(experiment.data, "data")
    if not hasattr(source, "open_tokens"):
        raise ConfigError(
            f"data: {experiment.data.target} gives no tokens; choose data=code_cache_tokens or data=npq for task=rvq_lm"
        )
    corpus: TokenSplits = source.open_tokens(codec, experiment.seed)
    loss = experiment.loss.tokens
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(experiment.seed, "model"))
        model = TokenTransformer(experiment.lm, corpus.layout)
    objective = TokenObjective(corpus.layout, loss.codebook_weights, loss.alpha, loss.label_smoothing)
    task = TokenTask(model, objective)
    groups = group_parameters(model, experiment.lr.groups, ())
    warm = _warm(experiment, task, groups)
    judge = TokenEvaluator(experiment, corpus, task, partial(listening_codec, experiment.codec, corpus.layout, codec))
    identity = token_identity(corpus, experiment, codec)
    return Parts(codec, corpus, task, TokenDataModule(experiment, corpus), judge, groups, identity, warm)


def token_identity(corpus: TokenSplits, experiment: Experiment, codec: LoadedCodec | None) -> dict[str, Any]:
    """What a token model's weights belong to: the layout of its frames, and the SNAC that they are of."""
    layout = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(corpus.layout).items()}
    made_by = None if codec is None else codec.fingerprint
    digest = hashlib.sha256(json.dumps([layout, made_by], sort_keys=True).encode()).hexdigest()
    return {"name": experiment.codec.name, "fingerprint": digest, "config": layout, "codec_fingerprint": made_by}


def open_codec(codec: Codec, seed: int = 0) -> LoadedCodec:
    """The checkpoint of a codec config, or random weights drawn by the seed; its geometry must be the declared one."""
    if codec.scratch is not None:
        loaded = fresh_codec(asdict(codec.scratch), seed, codec.name)
    else:
        loaded = load_codec(codec.name, codec.path, codec.hub_id, codec.bundled)
    if codec.geometry is not None:
        check_declared(loaded.geometry, codec.geometry)
    return loaded


def build_model(experiment: Experiment, codec: LoadedCodec) -> MultiRateSnac:
    """The model at step 0: a function of config and checkpoint alone; torch's generator stays where it was."""
    factories = {name: partial(instantiate, part, f"heads.{name}") for name, part in experiment.heads.items()}
    model = MultiRateSnac.from_codec(codec, factories, experiment.seed)
    assert experiment.init is not None
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


def _codec_task(experiment: Experiment, model: MultiRateSnac) -> DecoderTask:
    """The decoder's task, or that of the whole codec where more than the decoder trains; with its adversary."""
    settings, rivals = experiment.task, experiment.adversary
    schedules: list[Mapping[str, float | None]] = [experiment.loss.weights, *experiment.loss.phases.values()]
    trained = {head: rate for head, rate in model.rates.items() if any(item.get(head) for item in schedules)}
    adversary = None if rivals.kind == "none" else Adversary(rivals, trained, experiment.seed)
    if settings.freeze_encoder and settings.freeze_vq:
        return DecoderTask(model, experiment.loss, adversary)
    return AutoencoderTask(model, experiment.loss, settings, adversary)


def _warm(experiment: Experiment, task: Task, groups: ParameterGroups) -> WarmStart | None:
    if experiment.init_from is None:
        return None
    return warm_start(task.model, Path(experiment.init_from).expanduser(), groups.frozen)
