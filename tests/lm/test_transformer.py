"""The token transformer: what each prediction sees, the plain form it equals, and S14."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snac_exp.config.schema import Depth, LanguageModel
from snac_exp.errors import ConfigError
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.patterns import NAMES
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenMetrics, TokenObjective

LAYOUT = FrameLayout.plain((11, 11, 11), 50.0)
TINY = LanguageModel("parallel", 16, 2, 2, 0.0, 8, "learned", Depth(8, 2, 2))


def model_of(pattern: str = "parallel", layout: FrameLayout = LAYOUT, **changes: object) -> TokenTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TokenTransformer(replace(TINY, pattern=pattern, **changes), layout)


def random_frames(num_frames: int = 8, batch: int = 2, vocab: int = 11, streams: int = 3) -> Tensor:
    return torch.randint(vocab, (batch, num_frames, streams), generator=torch.Generator().manual_seed(3))


def seen(pattern: str, t: int, k: int) -> set[tuple[int, int]]:
    """Tokens (frame, stream) that the prediction of token (t, k) may see, from the meaning of the pattern."""
    tokens = {(frame, stream) for frame in range(8) for stream in range(3)}
    if pattern == "parallel":
        return {(frame, stream) for frame, stream in tokens if frame < t}
    if pattern == "delay":
        return {(frame, stream) for frame, stream in tokens if frame + stream < t + k}
    return {(frame, stream) for frame, stream in tokens if (frame, stream) < (t, k)}


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("pattern", NAMES)
def test_a_prediction_sees_exactly_the_tokens_before_it(pattern: str, positions: str) -> None:
    model, frames = model_of(pattern, positions=positions).double().eval(), random_frames(batch=1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    before = torch.stack(model(frames), dim=2)
    for frame, stream in [(0, 0), (3, 0), (3, 1), (3, 2), (7, 2)]:
        changed = frames.clone()
        changed[0, frame, stream] = (changed[0, frame, stream] + 1) % 11
        differs = (torch.stack(model(changed), dim=2) != before).any(-1)[0]
        for t in range(8):
            for k in range(3):
                assert bool(differs[t, k]) == ((frame, stream) in seen(pattern, t, k)), (frame, stream, t, k)


def test_one_table_and_one_head_equal_the_plain_form_of_k_embeddings_and_k_heads() -> None:
    model, frames = model_of().double().eval(), random_frames()
    table, rows = model.embedding.weight, 11
    embeddings = [table[k * rows : (k + 1) * rows] for k in range(3)]
    beginnings = table[3 * rows :]
    x = torch.stack([F.embedding(frames[:, :, k], embeddings[k]) for k in range(3)]).sum(0)
    x = torch.cat([beginnings.sum(0).expand(2, 1, -1), x[:, :-1]], dim=1) + model.position.weight
    hidden = model.stack(x)
    weight, bias = model.head.weight, model.head.bias
    plain = [hidden @ weight[k * rows : (k + 1) * rows].T + bias[k * rows : (k + 1) * rows] for k in range(3)]
    torch.testing.assert_close(model(frames), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pattern", NAMES)
def test_checkpointing_changes_memory_and_not_the_gradient(pattern: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = model_of(pattern, checkpointing=checkpointing).double()
        TokenObjective(LAYOUT)(model(random_frames()), random_frames(), torch.tensor([8, 5])).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])
    assert all(item is not None for item in gradients[0].values()), "every parameter learns"


@pytest.mark.slow
@pytest.mark.parametrize("pattern", NAMES)
def test_the_model_is_one_static_graph(pattern: str) -> None:
    torch._dynamo.reset()
    model = model_of(pattern)
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(2):
            pairs = zip(compiled(random_frames()), model(random_frames()), strict=True)
            assert all(torch.equal(one, other) for one, other in pairs)


def test_at_its_start_the_depth_model_hears_tokens_as_loudly_as_the_frame() -> None:
    model = model_of("depth", d_model=96, depth=Depth(96, 2, 2))
    hidden = torch.nn.functional.layer_norm(torch.randn(64, 96), (96,))
    frame = model.depth.from_frame(hidden)
    token = model.depth.from_token(model.depth.token_norm(model.embedding.weight[:33]))
    assert 0.5 < (frame.std() / token.std()).item() < 2


def test_more_frames_than_learned_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="9 frames exceed the 8 learned positions"):
        model_of()(random_frames(9))


def test_sizes_of_the_recipe() -> None:
    """run1_base: 12 layers of 512, 9 codebooks of 1024, ctx 1280."""
    layout = FrameLayout.plain((1024,) * 9, 86.1328125)
    with torch.device("meta"):
        model = TokenTransformer(LanguageModel("parallel", 512, 12, 8, 0.0, 1280, "learned", Depth(256, 4, 4)), layout)
    blocks = 12 * (4 * 512 * 512 + 4 * 512 + 8 * 512 * 512 + 5 * 512 + 4 * 512)
    tables = (9 * 1024 + 9) * 512 + 1280 * 512 + 9 * 1024 * 513
    assert model.num_parameters == blocks + tables + 2 * 512 == 47_936_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 18}, "lm.d_model=18 must be a multiple of twice lm.num_heads=2"),
        ({"pattern": "depth", "depth": Depth(10, 1, 2)}, "lm.depth.d_model=10"),
        ({"pattern": "delay", "ctx_frames": 5}, "too short to delay 3 streams"),
        ({"dropout": 1.0}, "lm.dropout=1.0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenTransformer(replace(TINY, **changes), LAYOUT)


def test_unequal_vocabularies_are_scored_over_their_own_entries() -> None:
    layout = FrameLayout.plain((11, 4, 7), 50.0)
    for pattern in NAMES:
        model, frames = model_of(pattern, layout).eval(), random_frames(vocab=4)
        figures = TokenMetrics(layout)
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        figures.add(model(frames), frames, torch.tensor([8, 8]))
        values = figures.result()
        assert [round(values[f"codebook_{k}/perplexity"], 4) for k in range(3)] == [11.0, 4.0, 7.0]


def entangled_frames(step: int, num_frames: int = 8) -> Tensor:
    """Codebook 0 is random, codebook 1 a function of codebook 0 of the same frame."""
    first = torch.randint(8, (16, num_frames), generator=torch.Generator().manual_seed(step))
    return torch.stack([first, (3 * first + 5) % 8], dim=2)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", NAMES)
def test_s14_a_codebook_that_is_a_function_of_one_before_it_costs_nothing_except_in_parallel(pattern: str) -> None:
    layout = FrameLayout.plain((8, 8), 50.0)
    model = model_of(pattern, layout, d_model=32, num_layers=1, depth=Depth(32, 1, 2))
    objective, valid = TokenObjective(layout), torch.full((16,), 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(200):
        frames = entangled_frames(step)
        optimizer.zero_grad()
        objective(model(frames), frames, valid).backward()
        optimizer.step()
    figures = TokenMetrics(layout)
    with torch.no_grad():
        for step in range(1000, 1004):
            figures.add(model(entangled_frames(step)), entangled_frames(step), valid)
    bits = [figures.result()[f"codebook_{k}/cross_entropy"] / math.log(2) for k in range(2)]
    assert bits[0] > 2.9, "codebook 0 is random: 3 bits"
    if pattern == "parallel":
        assert bits[1] > 2.9
    else:
        assert bits[1] < 0.05
