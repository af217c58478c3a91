"""Sampling: the cache changes nothing, before and beyond the context; draws are the distribution they claim to be."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from snac_exp.config.schema import Depth, LanguageModel
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.attention import KeyValueCache
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.patterns import NAMES
from snac_exp.lm.sampling import CachedReader, Sampling, draw_tokens, generate, uniform_draws, window_start
from snac_exp.lm.transformer import TokenTransformer
from tests.helpers.variants import thorough

LAYOUT = FrameLayout.plain((12, 12, 7), 50.0)
TINY = LanguageModel("parallel", 16, 2, 2, 0.0, 8, "learned", Depth(16, 2, 2))


def model_of(pattern: str, positions: str, dtype: torch.dtype = torch.float64) -> TokenTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = TokenTransformer(replace(TINY, pattern=pattern, positions=positions), LAYOUT).to(dtype).eval()
        for parameter in model.parameters():  # far from uniform, so that a wrong state changes the tokens
            torch.nn.init.normal_(parameter, std=0.4)
    return model


def recomputed_logits(model: TokenTransformer, frames: Tensor, step: int, stream: int) -> Tensor:
    """Logits (B, V_k) of one stream at one step by the training forward over all that is known, without any cache."""
    per_frame = model.pattern.steps_per_frame
    frame = step // per_frame - (stream if model.pattern.name == "delay" else 0)
    first = 0 if model.rotary else window_start(step // per_frame, model.settings.ctx_frames)
    known = frames[:, first : step // per_frame + 1].clamp(min=0)  # unknown ones become 0: causality keeps them unseen
    return model(known)[stream][:, frame - first]


@torch.no_grad()
def generate_without_cache(model: TokenTransformer, num_frames: int, sampling: Sampling, prompt: Tensor) -> Tensor:
    num_streams = model.layout.num_streams
    frames = torch.cat([prompt, torch.full((len(prompt), num_frames, num_streams), -2)], dim=1)
    for step in range(prompt.shape[1] * model.pattern.steps_per_frame, model.pattern.num_steps(frames.shape[1])):
        draws = uniform_draws(sampling.seed, step, len(prompt), model.pattern.width)
        for place in range(model.pattern.width):
            stream = place if model.pattern.width > 1 else step % num_streams
            lag = stream if model.pattern.name == "delay" else 0
            frame = step // model.pattern.steps_per_frame - lag
            if 0 <= frame < frames.shape[1] and frames[0, frame, stream] == -2:
                logits = recomputed_logits(model, frames, step, stream)
                frames[:, frame, stream] = draw_tokens(logits, draws[:, place], sampling)
    return frames


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize("prompt_frames", [11, *thorough(0, 3)])
def test_sampling_with_the_cache_equals_full_recomputation_also_beyond_the_context(
    pattern: str, positions: str, prompt_frames: int
) -> None:
    model, sampling = model_of(pattern, positions), Sampling(temperature=1.1, top_k=10, top_p=0.95, seed=3)
    prompt = torch.randint(7, (2, prompt_frames, 3), generator=torch.Generator().manual_seed(0))
    frames = generate(model, 18 - prompt_frames, sampling, prompt)
    assert frames.shape == (2, 18, 3)  # ctx is 8
    assert torch.equal(frames, generate_without_cache(model, 18 - prompt_frames, sampling, prompt))
    assert torch.equal(frames[:, :prompt_frames], prompt)
    assert ((frames >= 0) & (frames < torch.tensor(LAYOUT.vocab_sizes))).all()
    assert len(frames[:, 8:].unique()) > 4, "something happens beyond the context"


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("pattern", NAMES)
def test_cached_states_give_the_training_logits_to_1e4_in_float32(pattern: str, positions: str) -> None:
    model = model_of(pattern, positions, torch.float32)
    for module in (model.embedding, model.head, *model.stack.blocks):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    frames = torch.randint(7, (2, 25, 3), generator=torch.Generator().manual_seed(0))
    layout, reader, worst = model.pattern.lay_out(frames), CachedReader(model, 2), []
    for step in range(layout.shape[1] - 3):
        with torch.no_grad():
            hidden, streams = reader.hidden(layout, step), [step % 3] if pattern == "flatten" else [0, 1, 2]
            states = depth_states(model, hidden, frames[:, step]) if pattern == "depth" else [hidden] * 3
            for stream, state in zip(streams, states, strict=False):
                if pattern != "delay" or step - stream >= max(reader.first_frame, 0):
                    expected = recomputed_logits(model, frames, step, stream)
                    worst.append(float((model.logits_of_stream(state, stream) - expected).abs().max()))
    assert len(worst) >= 3 * (25 - 3) - 3
    assert max(worst) <= 1e-4


def depth_states(model: TokenTransformer, hidden: Tensor, frame: Tensor) -> list[Tensor]:
    cache = KeyValueCache.empty(model.depth.stack, 2, 3)
    rows = [None, frame[:, 0], frame[:, 1] + model.vocab_size]
    return [model.depth.step(hidden, item, model.embedding, cache) for item in rows]


def test_a_window_with_learned_positions_never_exceeds_the_context() -> None:
    starts = [window_start(frame, 8) for frame in range(21)]
    assert starts == [0] * 8 + [4] * 4 + [8] * 4 + [12] * 4 + [16]
    assert max(frame - start + 1 for frame, start in enumerate(starts)) == 8


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    model = model_of("delay", "rotary")
    one, again, other = (generate(model, 12, Sampling(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("pattern", NAMES)
def test_a_row_of_a_batch_is_what_it_is_alone(pattern: str) -> None:
    model = model_of(pattern, "learned")
    alone, three = (generate(model, 12, Sampling(seed=2), batch_size=size) for size in (1, 3))
    assert torch.equal(three[:1], alone)
    assert not torch.equal(three[1], three[0])
    assert torch.equal(uniform_draws(0, 5, 3, 2)[:1], uniform_draws(0, 5, 1, 2))


def test_draws_follow_the_filtered_distribution() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    draws = (torch.arange(20_000) + 0.5) / 20_000

    def shares(**options: float) -> list[float]:
        counts = draw_tokens(logits, draws, Sampling(**options)).bincount(minlength=4)
        return [round(float(count) / 20_000, 3) for count in counts]

    assert shares() == [0.5, 0.3, 0.15, 0.05]
    assert shares(top_k=2) == [0.625, 0.375, 0.0, 0.0]
    assert shares(top_p=0.8) == [0.625, 0.375, 0.0, 0.0]
    assert shares(top_p=0.81) == [round(0.5 / 0.95, 3), round(0.3 / 0.95, 3), round(0.15 / 0.95, 3), 0.0]
    assert shares(top_p=1e-9) == [1.0, 0.0, 0.0, 0.0]
    assert shares(temperature=0.0) == [1.0, 0.0, 0.0, 0.0]
    squared = [0.25, 0.09, 0.0225, 0.0025]
    assert shares(temperature=0.5) == [round(item / sum(squared), 3) for item in squared]


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_impossible_sampling_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Sampling(**options)


def test_a_prompt_of_another_codec_is_refused() -> None:
    model = model_of("parallel", "learned")
    with pytest.raises(DataError, match="beyond the model's vocabularies"):
        generate(model, 2, Sampling(), torch.full((1, 2, 3), 9))
    with pytest.raises(DataError, match="not \\(batch, frames, 3 streams\\)"):
        generate(model, 2, Sampling(), torch.zeros(1, 2, 4, dtype=torch.int64))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"top_p": 0.9, "top_k": 5}, {"temperature": 0.0}])
@pytest.mark.parametrize("pattern", NAMES)
def test_no_token_is_looked_at_while_writing(pattern: str, options: dict[str, float]) -> None:
    """On a device without values every look at one, for which a GPU would be waited for, is an error."""
    model = model_of(pattern, "learned").to("meta")
    prompt = torch.zeros(2, 3, 3, dtype=torch.int64)
    frames = generate(model, 9, Sampling(**options), prompt)  # beyond the context of 8 frames
    assert (frames.device.type, tuple(frames.shape)) == ("meta", (2, 12, 3))


def test_a_prompt_alone_is_written_as_it_is() -> None:
    prompt = torch.randint(7, (2, 4, 3))
    assert torch.equal(generate(model_of("parallel", "rotary"), 0, Sampling(), prompt), prompt)
