"""Everything that training a language model on tokens needs."""

import hashlib
import json
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.opening import open_codec
from snac_exp.config.instantiate import instantiate
from snac_exp.config.schema import Experiment
from snac_exp.config.seeding import derive_seed
from snac_exp.data.tokens.codecs import listening_codec
from snac_exp.data.tokens.sources import TokenSplits
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenObjective
from snac_exp.training.optimization.groups import group_parameters
from snac_exp.training.rvq_lm.data_module import TokenDataModule
from snac_exp.training.rvq_lm.evaluator import TokenEvaluator
from snac_exp.training.rvq_lm.task import TokenTask
from snac_exp.training.setup import TrainingSetup, loaded_from


def build(experiment: Experiment) -> TrainingSetup:
    """A token transformer for the frames that the data source has, and what trains it."""
    codec = open_codec(experiment.codec, experiment.seed) if experiment.codec.kind == "snac" else None
    splits: TokenSplits = instantiate(experiment.data, "data").open_tokens(codec, experiment.seed)
    task = _task(experiment, splits)
    groups = group_parameters(task.model, experiment.lr.groups, ())
    warm_start = loaded_from(experiment, task, groups)
    open_listening_codec = partial(listening_codec, experiment.codec, splits.layout, codec)
    return TrainingSetup(
        codec=codec,
        splits=splits,
        task=task,
        data_module=TokenDataModule(experiment, splits),
        evaluator=TokenEvaluator(experiment, splits, task, open_listening_codec),
        groups=groups,
        provenance=_provenance(splits, experiment, codec),
        warm_start=warm_start,
    )


def _task(experiment: Experiment, splits: TokenSplits) -> TokenTask:
    """The untrained model, whose weights follow from the seed, with its objective."""
    loss = experiment.loss.tokens
    assert experiment.lm is not None
    assert loss is not None
    # The weights follow from the seed alone, whatever was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(experiment.seed, "model"))
        model = TokenTransformer(experiment.lm, splits.layout)
    return TokenTask(model, TokenObjective(splits.layout, loss.codebook_weights, loss.alpha, loss.label_smoothing))


def _provenance(splits: TokenSplits, experiment: Experiment, codec: LoadedCodec | None) -> dict[str, Any]:
    """What a token model's weights belong to: the layout of its frames, and the SNAC that they are of."""
    layout = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(splits.layout).items()}
    made_by = None if codec is None else codec.fingerprint
    # Frames of another layout may have the same shape: then only the fingerprint tells that weights do not fit.
    digest = hashlib.sha256(json.dumps([layout, made_by], sort_keys=True).encode()).hexdigest()
    return {"name": experiment.codec.name, "fingerprint": digest, "config": layout, "codec_fingerprint": made_by}
