"""Measure a checkpoint, a pretrained codec or a baseline on the same fixed utterances, with 95 % intervals.

usage: snac-exp evaluate data=PREPARED checkpoint=RUN|FILE|FOLDER|OWNER/NAME [output=FOLDER] [key=value …]
       snac-exp evaluate data=PREPARED codec=demo                      a pretrained codec; codec.path=DIR says where
       snac-exp evaluate data=PREPARED system=interpolate|noise        training-free baselines
       snac-exp evaluate … compare=EARLIER                             paired differences to an earlier evaluation
       snac-exp evaluate … quality=all asr=FOLDER                      also perceptual metrics, pitch, word errors
       snac-exp evaluate evaluation=LATER compare=EARLIER              compare two finished evaluations

Writes files.parquet (a row per file and output), summary.json, summary.md and speed.json. Every system is measured with
both STFT distances at 24 and 48 kHz; metrics above 12 kHz use only recordings that are themselves wide-band. After an
interruption, the same command with the same output= continues.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import verb_values
from snac_exp.config.schema import Codec
from snac_exp.config.structure import structure
from snac_exp.data.packed.names import local_pack
from snac_exp.errors import ConfigError
from snac_exp.metrics.table import GROUPS, WIDE_RATE
from snac_exp.system.paths.writing import require_writable
from snac_exp.system.terminal import console

if TYPE_CHECKING:
    from snac_exp.data.prepared.manifest import Manifest
    from snac_exp.evaluation.evaluate import Protocol
    from snac_exp.evaluation.folder import Evaluation
    from snac_exp.evaluation.systems import System
    from snac_exp.evaluation.tables import Grid

SYSTEM_KEYS = ("checkpoint", "codec", "system", "evaluation")
_FREE_TEXT = ("compare", "evaluation", "name", "asr")  # besides the keys that hold paths everywhere


@dataclass(frozen=True)
class WideBandOptions:
    """What a recording must be to count above 12 kHz."""

    min_cutoff_hz: float
    min_hf_energy_ratio: float
    min_hf_dynamics_db: float


@dataclass(frozen=True)
class Options:
    """The keys of conf/evaluate.yaml."""

    data: str | None
    audio_root: str | None
    checkpoint: str | None
    allow_heads: list[str]
    system: Literal["interpolate", "noise"] | None
    evaluation: str | None
    name: str | None
    output: str | None
    compare: str | None
    compare_shared: bool
    split: Literal["validation", "train"]
    num_utterances: int | None
    max_seconds: float
    only_wide_band: bool
    rates: list[int]
    baselines: list[str]
    quality: list[str] | Literal["all"]
    asr: str | None
    target_dir: str | None
    target_delay_seconds: float
    wide_band: WideBandOptions
    seed: int
    noise: bool
    device: str
    codec: Codec | None = None


def main(arguments: Sequence[str]) -> int:
    """Evaluate one system, or compare two evaluations."""
    if any(it.startswith("codec.") for it in arguments) and not any(it.startswith("codec=") for it in arguments):
        raise ConfigError("codec.KEY= changes a codec that codec=NAME chooses: add it, like codec=snac_24khz")
    is_free = tuple(f"{key}=" for key in _FREE_TEXT)
    # Only these are quoted: others hold lists and numbers, which Hydra is to read.
    quoted = [hydra_overrides([it], _FREE_TEXT)[0] if it.startswith(is_free) else it for it in arguments]
    options = structure(Options, verb_values("evaluate", quoted))
    # None of them has a default, so what is not None was given.
    given = [key for key in SYSTEM_KEYS if getattr(options, key) is not None]
    if len(given) != 1:
        choices = "checkpoint=RUN, codec=NAME, system=interpolate, or evaluation=FOLDER with compare=FOLDER"
        found = f"{' and '.join(given)} are" if given else "nothing is"
        raise ConfigError(f"{found} given to evaluate; give one of {choices}")
    return _compare_finished(options) if options.evaluation is not None else _evaluate(options)


def _evaluate(options: Options) -> int:
    import torch

    from snac_exp.data.prepared.manifest import Manifest
    from snac_exp.evaluation.comparison import require_comparable
    from snac_exp.evaluation.evaluate import default_output, evaluate, fit_noise, settings_of, speed_of
    from snac_exp.evaluation.folder import Evaluation, EvaluationFolder, refuse_finished
    from snac_exp.evaluation.report import Report, speed_line
    from snac_exp.evaluation.utterances import measurable, select
    from snac_exp.evaluation.words.recognition import require_texts

    if options.data is None:
        raise ConfigError("data has no value: set it with data=FOLDER, the folder that snac-exp prepare wrote")
    # Refusals come first: loading and measuring take minutes.
    if options.output is not None:
        refuse_finished(_path(options.output))
        require_writable(_path(options.output))
    earlier = None if options.compare is None else Evaluation.load(_path(options.compare))
    manifest = Manifest.with_audio(local_pack(options.data), options.audio_root)
    protocol, device = _protocol(options), torch.device(options.device)
    system = _system(options, manifest, protocol)
    utterances, dropped = measurable(select(manifest, protocol.selection), protocol.rates)
    if protocol.asr is not None:
        require_texts(utterances)
    # Before measuring: a comparison that will be refused is not worth the time.
    if earlier is not None:
        paths = {item.row.sha1: item.row.path for item in utterances}
        require_comparable(earlier, protocol.to_json(), paths, shared_only=options.compare_shared)
    # Fitted only where it is used: it reads up to 200 training recordings.
    with_noise = "noise" in protocol.baselines and any(item.has(WIDE_RATE) for item in utterances)
    noise = fit_noise(manifest, protocol.selection) if with_noise else None
    settings = settings_of(system, manifest, utterances, protocol, device)
    folder = EvaluationFolder(_path(options.output) if options.output else default_output(system.name), settings)
    with folder.at_work():
        done = evaluate(system, utterances, protocol, noise, folder)
        report = Report(system, protocol, utterances, dropped, [row for item in done for row in item.rows])
        speed = speed_of(done, device)
        folder.finish(report.rows, protocol.metrics, report.summary(), report.markdown(), speed)
    _show(report.grids(), [*report.notes(), speed_line(speed), f"written: {folder.path}"])
    if earlier is not None:
        _show_comparison(options, earlier, Evaluation.load(folder.path), folder.path)
    return 0


def _protocol(options: Options) -> "Protocol":
    from snac_exp.data.targets.wideband import WideBand
    from snac_exp.evaluation.evaluate import Protocol
    from snac_exp.evaluation.utterances import Selection

    selection = Selection(
        split=options.split,
        num_utterances=options.num_utterances,
        max_seconds=options.max_seconds,
        only_wide_band=options.only_wide_band,
        target_dir=None if options.target_dir is None else local_pack(options.target_dir),
        target_delay_seconds=options.target_delay_seconds,
        wide_band=WideBand(WIDE_RATE, **asdict(options.wide_band)),
    )
    # In one order and once each, so that the command line's makes no other evaluation; unknown ones are refused there.
    quality = tuple(sorted(set(GROUPS if options.quality == "all" else options.quality)))
    asr = None if options.asr is None else _path(options.asr)
    if options.system is None:
        # Sorted, so that the order on the command line makes no other evaluation.
        rates, baselines = tuple(sorted(options.rates)), tuple(options.baselines)
        return Protocol(selection, rates, options.seed, baselines, quality, asr)
    if WIDE_RATE not in options.rates:
        raise ConfigError(f"system={options.system} has an output at {WIDE_RATE} Hz alone: set rates=[{WIDE_RATE}]")
    return Protocol(selection, (WIDE_RATE,), options.seed, (), quality, asr)  # at 24 kHz it is the recording itself


def _system(options: Options, manifest: "Manifest", protocol: "Protocol") -> "System":
    """What is evaluated."""
    import torch

    from snac_exp.evaluation.evaluate import fit_noise
    from snac_exp.evaluation.opening import open_checkpoint, open_interpolation, open_pretrained

    if options.system is not None:
        noise = fit_noise(manifest, protocol.selection) if options.system == "noise" else None
        return open_interpolation(noise, options.name)
    device = torch.device(options.device)
    if options.codec is not None:
        return open_pretrained(options.codec, device, name=options.name, noise=options.noise)
    return open_checkpoint(
        str(options.checkpoint), device, name=options.name, noise=options.noise, allow_heads=options.allow_heads
    )


def _compare_finished(options: Options) -> int:
    from snac_exp.evaluation.folder import Evaluation

    if options.compare is None:
        raise ConfigError("evaluation= names a finished evaluation: say with compare=FOLDER what to compare it with")
    if options.data is not None:
        raise ConfigError("evaluation= measures nothing: leave out data=, or name a system instead of evaluation=")
    earlier, later = Evaluation.load(_path(options.compare)), Evaluation.load(_path(str(options.evaluation)))
    _show_comparison(options, earlier, later, None if options.output is None else _path(options.output))
    return 0


def _show_comparison(options: Options, earlier: "Evaluation", later: "Evaluation", output: Path | None) -> None:
    """Print the differences and write comparison.json and comparison.md where there is a folder for them."""
    from snac_exp.evaluation.comparison import compare

    found = compare(earlier, later, shared_only=options.compare_shared)
    where = [] if output is None else [f"written: {found.write(output)}"]
    _show(found.grids(), [*found.notes, *where])


def _show(grids: "Sequence[Grid]", lines: Sequence[str]) -> None:

    terminal = console()
    for grid in grids:
        terminal.print(grid.rich())
    for line in lines:
        # Texts of files and errors: brackets in them are no markup.
        terminal.print(line, markup=False, highlight=False, soft_wrap=True)


def _path(given: str) -> Path:
    return Path(given).expanduser()
