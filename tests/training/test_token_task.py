"""The token task: exact means over micro-batches, validation that leaves no trace, samples one can hear."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from snac_exp.config.schema import Depth, LanguageModel
from snac_exp.data.tokens.npq import write_npq
from snac_exp.data.tokens.sources import NpqTokens, TokenSplits
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.sampling import Sampling
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenObjective
from snac_exp.training.optimization.accumulation import accumulate, shares
from snac_exp.training.rvq_lm.task import LOSS, TokenTask, validate_tokens, write_token_samples

SETTINGS = LanguageModel("delay", 16, 1, 2, 0.0, 16, "learned", Depth(16, 1, 2))


@pytest.fixture
def corpus(tmp_path: Path) -> TokenSplits:
    for i, length in enumerate((40, 9, 30, 11)):
        frames = np.stack([np.arange(length) % 8, (np.arange(length) + i) % 8], axis=1)
        write_npq(tmp_path / "tokens" / f"{i}.npq", frames, (8, 8), 50.0)
    return NpqTokens(str(tmp_path / "tokens"), train_ratio=0.6).open_tokens(None, seed=0)


def task_of(corpus: TokenSplits, dropout: float = 0.0) -> TokenTask:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = LanguageModel("delay", 16, 1, 2, dropout, 16, "learned", Depth(16, 1, 2))
        return TokenTask(TokenTransformer(settings, corpus.layout), TokenObjective(corpus.layout, "auto", 0.5, 0.05))


def test_s13_micro_batches_of_windows_give_the_gradient_and_the_loss_of_the_whole_batch(corpus: TokenSplits) -> None:
    task = task_of(corpus).double()
    index = corpus.train_index(16)
    batch = corpus.train.batch(index.specs(np.arange(len(index))))
    assert len(batch) >= 4
    assert set(batch.valid_frames.tolist()) != {16}, "some windows are padded"
    whole = task(batch)[LOSS]
    whole.backward()
    expected = {name: item.grad.clone() for name, item in task.named_parameters()}
    task.zero_grad()
    parts = batch.micro_batches(3)
    weighted = zip(shares([task.weight(part) for part in parts]), parts, strict=True)
    means = accumulate(weighted, task, lambda terms: terms[LOSS], Tensor.backward)
    assert means["loss"].item() == pytest.approx(whole.item(), rel=1e-6)
    for name, parameter in task.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-9)


def test_validation_scores_every_token_once_whatever_the_batch_and_leaves_the_model_as_it_was(
    corpus: TokenSplits,
) -> None:
    task = task_of(corpus, dropout=0.5)
    specs = corpus.validation_specs(16, 0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other = (validate_tokens(task.model, corpus, specs, size) for size in (1, 4))
    assert task.model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert one["cross_entropy"] == pytest.approx(other["cross_entropy"], rel=1e-6)
    assert one["bits_per_frame"] == pytest.approx(2 * one["cross_entropy"] / np.log(2), rel=1e-9)


def test_dropout_is_a_function_of_the_position(corpus: TokenSplits) -> None:
    task = task_of(corpus, dropout=0.5)
    batch = corpus.train.batch(corpus.train_index(16).specs(np.arange(3)))
    losses = []
    for step in (1, 1, 2):
        task.seed_noise(0, "train", step)
        losses.append(task(batch)[LOSS].item())
    assert losses[0] == losses[1] != losses[2]


class Beeps:
    """A codec whose frame k of token v is 100 samples of the value v / 10."""

    name, sampling_rate, granule_samples, granule_frames = "beeps", 5000, 100, 1
    layout = FrameLayout.plain((8, 8), 50.0)

    def encode(self, audio: Tensor) -> np.ndarray:
        return np.repeat((10 * audio[::100]).round().long().numpy()[:, None], 2, axis=1)

    def decode(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames[:, 0] / 10).repeat_interleave(100)


@pytest.mark.slow
def test_samples_go_on_from_their_prompt(corpus: TokenSplits, tmp_path: Path) -> None:
    task = task_of(corpus)
    prompts = [torch.randint(8, (5, 2)), torch.zeros(0, 2, dtype=torch.int64)]
    write_token_samples(task.model, Beeps(), prompts, 20, Sampling(seed=1), tmp_path)
    names = {path.name for path in tmp_path.iterdir()} - {"tokens"}
    expected = {"sample0_prompt.wav", "sample0_generated.wav", "sample0.png", "sample1_generated.wav", "sample1.png"}
    assert names == expected
    whole, rate = soundfile.read(tmp_path / "sample0_generated.wav")
    prompt, _ = soundfile.read(tmp_path / "sample0_prompt.wav")
    assert (len(whole), len(prompt), rate) == (2500, 500, 5000)
    assert np.array_equal(whole[:500], prompt)
    assert task.model.training
