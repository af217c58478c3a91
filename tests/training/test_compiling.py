"""Compiled training: a graph of the trunk and of each head for every kind of epoch, and nothing of all else.

Whole runs of toy size: warm-up, stages, accumulation, last batches that are smaller, validation, samples, the summary.
The compiler here changes nothing and counts; what counts as a graph is torch's own frontend's.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.fx import GraphModule

from snac_exp.config.compose import compose_experiment
from snac_exp.training.compiling import StepCompiler
from snac_exp.training.plan import planned_geometry, unroll
from tests.end_to_end.recipe import CLIP, recipe
from tests.end_to_end.test_recipes_train import SMALL as CODEC
from tests.end_to_end.token_recipe import SMALL, token_data
from tests.helpers.commands import train


class Counting:
    """A compiler that changes nothing and notes the longest input of each graph it is given."""

    def __init__(self) -> None:
        self.graphs: list[tuple[int, ...]] = []

    def __call__(self, graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        shapes = [tuple(item.shape) for item in inputs if isinstance(item, Tensor) and type(item) is not nn.Parameter]
        self.graphs.append(max(shapes, key=lambda shape: (len(shape), shape[-1]), default=()))
        return graph.forward


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """Every module that is compiled meanwhile is compiled by it; torch's counters begin at zero."""
    compiler, compile_module = Counting(), nn.Module.compile

    def counted(module: nn.Module, **options: Any) -> None:
        compile_module(module, backend=compiler, **options)

    monkeypatch.setattr(nn.Module, "compile", counted)
    torch._dynamo.reset()
    counters.clear()
    yield compiler
    torch._dynamo.reset()
    counters.clear()


def assert_whole(compiler: Counting, num_graphs: int) -> None:
    """So many graphs, as torch counts them too; none was broken, and no limit of recompilations was met."""
    assert counters["stats"]["unique_graphs"] == len(compiler.graphs) == num_graphs, Counter(compiler.graphs)
    assert not counters["graph_break"]
    assert not counters["unimplemented"]
    assert counters["frames"]["ok"] == counters["frames"]["total"] == num_graphs


# Seven rows: a batch of 4 in micro-batches of 2, and one of 3 whose last micro-batch has a size of its own.
STAGES = [
    "trainer.compile=true", "trainer.max_steps_per_epoch=null", "trainer.batch_size=4", "trainer.accumulation=2",
    "trainer.samples_every_epochs=9", "data.limit=7", "data.validation_slices=1", "data.validation_seconds=0.4",
    "loss.n_ffts.head_24k=[256]",
]  # fmt: skip


@pytest.mark.slow
def test_a_decoder_compiles_once_for_every_stage_and_the_warm_up(
    counting: Counting, corpus_dir: Path, tmp_path: Path
) -> None:
    noisy = ["heads.head_48k.noise=true", "loss.n_ffts.head_48k=[256]", "~curriculum.stages.c"]
    stages = [f"curriculum.stages.{name}.batch_multiplier=1.0" for name in "ab"]
    last = [*stages, "lr.phases.main.epochs=[2,3]", "trainer.preflight=[start]"]
    train(*recipe(corpus_dir, tmp_path), *CLIP, *STAGES, *noisy, *last).succeeded()
    # Trunk and two heads of (a, warm-up), (a, main) and (b, main).
    assert_whole(counting, 3 * 3)
    assert {shape[0] for shape in counting.graphs} == {2}  # items of a micro-batch


@pytest.mark.slow
@pytest.mark.thorough  # of its decoder above
def test_a_whole_codec_compiles_its_decoder_once_for_every_stage(
    counting: Counting, corpus_dir: Path, tmp_path: Path
) -> None:
    arguments = ["+experiment=snac_from_scratch", "codec=scratch_demo", "adversary=none", *CODEC[1:], *STAGES]
    data = [f"data.path={corpus_dir / 'prepared'}", f"output_dir={tmp_path}", "lr.phases.main.epochs=[1,2]"]
    stages = ["curriculum.stages.all.epochs=[1,1]", "+curriculum.stages.b={epochs: [2, 2], segment_seconds: 0.5}"]
    train(*arguments, *data, *stages).succeeded()
    assert_whole(counting, 2 * 2)  # trunk and one head of both stages
    assert {shape[0] for shape in counting.graphs} == {2}


@pytest.mark.slow
def test_a_token_model_compiles_once_for_every_window_length(
    counting: Counting, corpus_dir: Path, tmp_path: Path
) -> None:
    short = ["+curriculum.stages.short={epochs: [1, 1], segment_frames: 16}", "curriculum.stages.all.epochs=[2,2]"]
    changes = ["lr.phases.main.epochs=[1,2]", "trainer.compile=true", "trainer.accumulation=3", "trainer.batch_size=9"]
    samples = ["trainer.num_sample_clips=1", "task.sample_frames=4"]
    data = token_data(corpus_dir, tmp_path)
    train("+experiment=rvq_run2_big", *SMALL, *short, *changes, *samples, *data).succeeded()
    assert_whole(counting, 2 * 2)  # the model and its loss
    assert sorted(shape[:2] for shape in counting.graphs) == [(3, 16), (3, 16), (3, 32), (3, 32)]


def compiler_of(*changes: str, rank: int = 0, accumulation: int = 1) -> Callable[[], set[int]]:
    """Sizes of the first epoch's micro-batches on one rank of a recipe."""
    experiment, _ = compose_experiment(["+experiment=phase12_dual_head", *changes], complete=False)
    plan = unroll(experiment, planned_geometry(experiment))
    return lambda: StepCompiler(True, plan, accumulation, rank).sizes(plan.epochs[-1])


@pytest.mark.slow
def test_micro_batches_of_full_batches_are_compiled_on_every_rank() -> None:
    """Phase 12 ends with batches of 43."""
    assert compiler_of()() == {43}
    assert compiler_of(accumulation=2)() == {22, 21}
    assert compiler_of("trainer.devices=2", rank=0)() == {22, 21}
    assert compiler_of("trainer.devices=2", rank=1)() == {22}
    assert compiler_of("trainer.devices=2", rank=1, accumulation=2)() == {11}
