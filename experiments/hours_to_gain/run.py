"""Does fine-tuning help my language? The decoder on 1, 3, 8 and 20 minutes of speech, against the codec as it was.

    python experiments/hours_to_gain/run.py data=PREPARED [codec=snac_24khz] [minutes=1,3,8,20] [seeds=0,1,2]
        [output=DIR] [max_steps=200] [again=true] [trainer.KEY=…] [codec.KEY=…]

PREPARED is what `snac-exp prepare` made. Encoder and codebooks stay as they are, so tokens do too. Every run has the
same number of steps and of segments a step. The validation speakers of PREPARED are heard by no run and choose none:
`held_out` minutes of the training speakers, which no run trains on, say which validation was the best.
Keys: segment_seconds, batch_size, learning_rate; validations=8 of a run; held_out=1, in minutes; num_utterances=24 of
the validation speakers, or all; quality=installed, all, or some of dnsmos,plcmos,speaker,f0; device=cpu.

Runs, evaluations, results.json, results.md and results.png lie in DIR. What is there already is not made again: the
same command goes on where it was stopped, with more minutes or seeds too; again=true trains anew.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from gains import Measured, write_results
from speech import Subset, divided, subset

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.config.meaning.digest import meaning_hash
from snac_exp.config.structure import nearest, structure
from snac_exp.data.prepared.manifest import MANIFEST_NAME, Manifest
from snac_exp.errors import ConfigError, guarded
from snac_exp.evaluation.folder import SUMMARY_NAME as FINISHED
from snac_exp.evaluation.folder import Evaluation
from snac_exp.metrics.table import GROUPS, METRICS, require_groups
from snac_exp.release.files.job import Job
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.data.cache_codes import main as cache_codes
from snac_exp.verbs.repeated import run_of_same_meaning
from snac_exp.verbs.results.evaluate import main as evaluate
from snac_exp.verbs.training.train import main as train

STOPPED = 75  # exit status of a run that was asked to stop and saved
PASSED_ON = ("trainer.", "codec.")  # arguments of train.py that are taken as they are


@dataclass(frozen=True)
class Options:
    """The keys of the command; `passed` are arguments for train.py."""

    data: str
    codec: str = "snac_24khz"
    minutes: list[float] = field(default_factory=lambda: [1.0, 3.0, 8.0, 20.0])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    output: str = "outputs/hours_to_gain"
    max_steps: int = 200
    batch_size: int = 8
    segment_seconds: float = 1.0
    learning_rate: float = 1e-4
    validations: int = 8
    held_out: float = 1.0
    num_utterances: int | Literal["all"] = 24
    quality: list[str] = field(default_factory=lambda: ["installed"])
    device: str = "cpu"
    again: bool = False
    passed: list[str] = field(default_factory=list)

    @property
    def of_codec(self) -> list[str]:
        """The codec, as every verb takes it."""
        return [f"codec={self.codec}", *(item for item in self.passed if item.startswith("codec."))]

    @property
    def groups(self) -> list[str]:
        """Groups of measures that are asked for, or of which nothing is missing here."""
        if self.quality == ["all"]:
            return list(GROUPS)
        if self.quality != ["installed"]:
            return self.quality
        missing = {metric.group for metric in METRICS if metric.missing() is not None}
        return [group for group in GROUPS if group not in missing]

    def settings(self, digest: str) -> dict[str, Any]:
        """What all runs of a folder share. digest: of the prepared folder."""
        own = {"minutes", "seeds", "output", "again", "data", "device"}
        return {name: value for name, value in asdict(self).items() if name not in own} | {"data": digest}


def main(arguments: Sequence[str]) -> int:
    """The whole study, or what is missing of it; returns the exit status."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    return guarded(lambda: study(parsed(arguments)))


def parsed(arguments: Sequence[str]) -> Options:
    """Options of `key=value` arguments.

    Raises:
        ConfigError: an unknown key, or a value that is not possible; names it.
    """
    names = [item.name for item in fields(Options) if item.name != "passed"]
    values: dict[str, Any] = {"passed": [item for item in arguments if item.startswith(PASSED_ON)]}
    for argument in (item for item in arguments if not item.startswith(PASSED_ON)):
        name, equals, value = argument.partition("=")
        if not equals or name not in names:
            raise ConfigError(
                f"there is no key '{name}'{nearest(name, names)}, or trainer.KEY= and codec.KEY= of train.py"
            )
        values[name] = _value(name, value)
    if "data" not in values:
        raise ConfigError("data has no value: set it with data=PREPARED, a folder that snac-exp prepare wrote")
    options = structure(Options, values)
    numbers = {name: getattr(options, name) for name in ("max_steps", "batch_size", "validations", "held_out")}
    numbers |= {"segment_seconds": options.segment_seconds, "learning_rate": options.learning_rate}
    numbers |= {"minutes": min(options.minutes, default=0), "seeds": len(options.seeds)}
    for name, number in numbers.items():
        if not number > 0:
            raise ConfigError(f"{name} must be above 0, and lists must not be empty")
    return options


def _value(name: str, text: str) -> Any:
    """The value of a key; commas separate those of a list, with brackets around it or without."""
    kind = get_type_hints(Options)[name]
    if kind is str:
        return text
    try:
        value = yaml.safe_load(f"[{text.strip('[]')}]")
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}={text} cannot be read ({error})") from None
    # YAML takes 3e-4 for text.
    value = [_number(item) for item in value]
    return value if kind in (list[float], list[int], list[str]) else value[0] if len(value) == 1 else value


def _number(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def study(options: Options) -> int:
    """Train and measure what is missing, and write the results of all after every seed."""
    output, prepared = Path(options.output).expanduser(), Path(options.data).expanduser()
    manifest = divided(prepared, options.held_out, options.minutes)
    require_groups(options.groups, "quality")
    # What no run could begin with is refused before anything is written.
    compose_experiment(hydra_overrides(recipe(options, Subset(1, 0.0, 1), options.minutes[0], options.seeds[0])))
    job = Job(output, options.settings(Manifest.read(prepared).digest))
    with job.at_work(), open(output / "study.log", "a", encoding="utf-8") as log:
        with redirect_stdout(log):  # what the verbs tell
            manifest.write(output / "speech" / MANIFEST_NAME)
            cache_codes(
                [
                    f"data={output / 'speech'}",
                    f"output={codes_of(output)}",
                    f"device={options.device}",
                    *options.of_codec,
                ]
            )
            before = measured(options, options.of_codec, "before")
        found: list[Measured] = []
        for seed in options.seeds:  # outside, so that a study cut short has all minutes
            for minutes in options.minutes:
                print(f"{minutes:g} minutes, seed {seed}", flush=True)
                with redirect_stdout(log):
                    part = subset(codes_of(output), minutes, seed)
                    run = trained(options, name_of(minutes, seed), recipe(options, part, minutes, seed))
                    if run is None:
                        return STOPPED
                    found.append(measures_of(options, run, part, minutes, seed))
            write_results(output, before, found, options.settings(""))
    print((output / "results.md").read_text(encoding="utf-8"))
    return 0


def codes_of(output: Path) -> Path:
    """The code cache of a study."""
    return output / "speech" / "codes"


def name_of(minutes: float, seed: int) -> str:
    """Name of a run."""
    return f"{minutes:g}min_seed{seed}"


def recipe(options: Options, part: Subset, minutes: float, seed: int) -> list[str]:
    """Arguments of train.py: the rows of the subset come round and round, so that every step has a full batch."""
    output, steps = Path(options.output).expanduser(), options.max_steps
    every = max(1, steps // options.validations)
    return [
        *("+experiment=finetune_decoder", *options.of_codec, f"seed={seed}", f"name={name_of(minutes, seed)}"),
        *("data=mixture", f"data.sources={{own: {{limit: {part.limit}}}}}"),
        *(f"+data.sources.own.cache_dir={codes_of(output)}", f"data.epoch_rows={steps * options.batch_size}"),
        *("data.validation_seconds=2.0", "data.validation_slices=16", "curriculum=plain_4s"),
        *(f"curriculum.stages.all.segment_seconds={options.segment_seconds}", "lr.unit=steps"),
        *(f"lr.phases.main.groups.{name}={options.learning_rate}" for name in ("trunk", "head_24k")),
        *(f"+lr.phases.main.steps=[1,{steps}]", f"trainer.batch_size={options.batch_size}"),
        *(
            f"trainer.validate_every_steps={every}",
            f"checkpoint.every_steps={every}",
            "trainer.validation_batch_size=8",
        ),
        *(f"trainer.accelerator={options.device}", "trainer.num_threads=1", "trainer.num_workers=0"),
        *("trainer.num_sample_clips=0", "trainer.summary_utterances=0", "trainer.preflight_rows=4"),
        *("trainer.log_every_steps=10", "trainer.quiet=true", "tracker=none", f"output_dir={output / 'runs'}"),
        *(item for item in options.passed if not item.startswith("codec.")),
    ]


def trained(options: Options, name: str, arguments: list[str]) -> RunFolder | None:
    """The finished run that means this, trained or gone on with where it is not there; None where it was stopped.

    Raises:
        ConfigError: it failed.
    """
    _, values = compose_experiment(hydra_overrides(arguments))
    run = None if options.again else run_of_same_meaning(values)
    if run is None:
        folder = Path(str(values["output_dir"])) / name
        begun = [] if options.again else [*unfinished(folder, meaning_hash(values))]
        status = train([f"resume={begun[-1]}"] if begun else [*arguments, f"again={str(options.again).lower()}"])
        if status == STOPPED:
            return None
        run = run_of_same_meaning(values)
        if status != 0 or run is None:
            raise ConfigError(f"{name} did not finish; what it said stands above, its files lie in {folder}")
    return run


def unfinished(folder: Path, digest: str) -> Iterator[Path]:
    """Run folders of this hash that are not finished, the newest last."""
    for path in sorted(folder.glob(f"*-{digest}*")):
        if RunFolder(path).exists and (RunFolder(path).status() or {}).get("state") != "finished":
            yield path


def measures_of(options: Options, run: RunFolder, part: Subset, minutes: float, seed: int) -> Measured:
    """Both models of a run, the best by what was held out and the last, on the speakers that it did not hear."""
    newest = CheckpointStore(run.checkpoints, None, 0).entries()[0]
    best_step = read_checkpoint(run.best_model).state.step
    final = measured(
        options, [f"checkpoint={run.checkpoints / newest.file}"], f"{run.path.name}_{minutes:g}_{seed}_final"
    )
    best = final
    if best_step != newest.step:
        best = measured(options, [f"checkpoint={run.best_model}"], f"{run.path.name}_{minutes:g}_{seed}_best")
    return Measured(
        minutes, seed, part, best_step, newest.step, {"best": best.rows, "final": final.rows}, str(run.path)
    )


def measured(options: Options, system: list[str], name: str) -> Evaluation:
    """The evaluation of a system on the folder's validation speakers, made where it is not there."""
    folder = Path(options.output).expanduser() / "evaluations" / name
    if not (folder / FINISHED).exists():
        number = "null" if options.num_utterances == "all" else options.num_utterances
        asked = [f"num_utterances={number}", f"quality=[{','.join(options.groups)}]", f"device={options.device}"]
        evaluate([f"data={options.data}", f"output={folder}", "rates=[24000]", "baselines=[]", *asked, *system])
    return Evaluation.load(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
