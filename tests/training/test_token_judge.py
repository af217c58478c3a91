"""What is proved before a token run begins, and which prompts its samples go on from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Experiment
from snac_exp.data.tokens.batch import TokenWindows
from snac_exp.data.tokens.npq import write_npq
from snac_exp.data.tokens.sources import NpqTokens, TokenSplits
from snac_exp.errors import CodecError, ConfigError, PreflightError
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenObjective
from snac_exp.training.rvq_lm.evaluator import TokenEvaluator
from snac_exp.training.rvq_lm.task import TokenTask


class Beeps:
    """A codec of two codebooks of eight entries, as far as a preflight looks."""

    name, sampling_rate, granule_samples, granule_frames = "beeps", 5000, 100, 1
    layout = FrameLayout.plain((8, 8), 50.0)


def no_codec() -> Beeps:
    raise CodecError("there is none")


@pytest.fixture
def splits(tmp_path: Path) -> TokenSplits:
    for i, length in enumerate((40, 9, 300, 100, 33, 70)):
        write_npq(tmp_path / f"{i}.npq", np.random.default_rng(i).integers(0, 8, (length, 2)), (8, 8), 50.0)
    (tmp_path / "bad.npq").write_bytes(b"nothing")
    return NpqTokens(str(tmp_path), train_ratio=0.6).open_tokens(None, seed=0)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    small = ["data.directory=.", "lm=toy", "lm.d_model=16", "lm.num_layers=1", "lm.num_heads=2", "lm.ctx_frames=32"]
    return compose_experiment(["+experiment=rvq_run2_big", *small])[0]


def judge_of(experiment: Experiment, splits: TokenSplits) -> TokenEvaluator:
    assert experiment.lm is not None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = TokenTask(TokenTransformer(experiment.lm, splits.layout), TokenObjective(splits.layout))
    return TokenEvaluator(experiment, splits, task, Beeps)


def test_the_promises_in_words(experiment: Experiment, splits: TokenSplits) -> None:
    said: list[str] = []
    lines = judge_of(experiment, splits).preflight(said.append)
    assert lines[0].startswith("not used: bad.npq: ")
    assert lines[1].endswith("validation files, none in both")
    assert lines[2:3] == ["no frame is predicted from itself or from later ones"]
    assert "guessing has 2.079" in lines[3]  # log 8
    assert lines[4] == "samples are decoded by codec beeps, which has these frames"
    assert said == [f"preflight: {line}" for line in lines]


@pytest.mark.parametrize("pattern", ["parallel", "delay", "flatten", "depth"])
def test_every_pattern_keeps_them(pattern: str, experiment: Experiment, splits: TokenSplits) -> None:
    assert experiment.lm is not None
    changed = replace(experiment, lm=replace(experiment.lm, pattern=pattern))
    assert len(judge_of(changed, splits).preflight(lambda _: None)) == 5


def test_a_file_on_both_sides_is_refused(experiment: Experiment, splits: TokenSplits) -> None:
    both = replace(splits, validation=TokenWindows(splits.train.source, splits.train.files[:1]))
    with pytest.raises(PreflightError, match="1 files are in both splits"):
        judge_of(experiment, both).preflight(lambda _: None)


def test_a_model_that_sees_the_frame_it_predicts_is_refused(
    experiment: Experiment, splits: TokenSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TokenTransformer.forward

    def peeking(self: TokenTransformer, frames: Tensor) -> list[Tensor]:
        return [logits + frames[:, :, :1] for logits in forward(self, frames)]

    monkeypatch.setattr(TokenTransformer, "forward", peeking)
    with pytest.raises(PreflightError, match="the prediction of a frame depends on that frame itself"):
        judge_of(experiment, splits).preflight(lambda _: None)


def test_a_model_that_does_not_start_from_nothing_is_refused(experiment: Experiment, splits: TokenSplits) -> None:
    judge = judge_of(experiment, splits)
    torch.nn.init.normal_(judge.task.model.head.bias, std=3.0)
    with pytest.raises(PreflightError, match=r"does not start where a token model should"):
        judge.preflight(lambda _: None)


def test_a_codec_to_listen_with_is_needed_only_for_samples(experiment: Experiment, splits: TokenSplits) -> None:
    judge = replace(judge_of(experiment, splits), make_codec=no_codec)
    with pytest.raises(CodecError, match="there is none"):
        judge.preflight(lambda _: None)
    silent = replace(experiment, trainer=replace(experiment.trainer, num_sample_clips=0))
    assert len(replace(judge, experiment=silent).preflight(lambda _: None)) == 4


def test_prompts_are_a_quarter_of_the_context_where_files_are_long_enough(
    experiment: Experiment, splits: TokenSplits
) -> None:
    prompts = judge_of(experiment, splits)._prompts()
    assert [prompt.shape for prompt in prompts] == [(0, 2), (8, 2), (8, 2)]


@pytest.mark.parametrize(
    ("changes", "message"), [({"sample_frames": 0}, "sample_frames=0"), ({"sample_temperature": -1.0}, "-1")]
)
def test_impossible_samples_are_refused(
    changes: dict[str, float], message: str, experiment: Experiment, splits: TokenSplits
) -> None:
    with pytest.raises(ConfigError, match=message):
        judge_of(replace(experiment, task=replace(experiment.task, **changes)), splits)
