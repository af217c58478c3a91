"""Runs side by side in numbers: a metric, the difference of every run to a baseline, and what the configs differ in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.evaluation.bootstrap import Estimate, estimate
from snac_exp.evaluation.utterance_rows import Scores, read_utterances
from snac_exp.metrics.keys import flat_values
from snac_exp.metrics.sides import best_of, cost, goal_of, side_of
from snac_exp.metrics.table import metric_of, order_of
from snac_exp.report.run.record import Record, read_record, record_without_run
from snac_exp.report.settings import Difference, differences_between_runs
from snac_exp.tracking.run_folder import RunFolder

_WITHOUT_RUN = ("lost", "failed")  # jobs whose folder was moved away, or that were refused before they began
FIRST_METRICS = ("head_48k/lsd_high_db", "val/objective")
_NOT_TRAINED = ("initial", "baseline", "baseline_noise", "unigram", "val")
MOST_COLUMNS = 6  # besides the metric itself


@dataclass(frozen=True)
class Source:
    """A run to compare. label: how it is called here. varied: in which overrides it differs from others of its sweep.

    state, error: as its ledger says, None = as the run itself says.
    """

    path: Path
    label: str
    varied: tuple[str, ...] = ()
    state: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class ComparisonSettings:
    """What is asked. metric: a value of summary.json, or `val/...`, of which a run's best counts; None = the first of
    `FIRST_METRICS` that there is. goal: minimize, maximize or closest_to_0; None = as the metric is known. baseline:
    label, folder or number (from 1) of a run; None = the first."""

    metric: str | None = None
    goal: str | None = None
    baseline: str | None = None
    columns: tuple[str, ...] = ()
    seed: int = 0
    text: str | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """A run with its values. interval: of the metric's mean over utterances. delta: to the baseline over the
    utterances that both measured, where they are known one by one, else without an interval."""

    source: Source
    record: Record
    state: str
    error: str | None
    value: float | None
    interval: tuple[float, float] | None
    delta: Estimate | None
    metrics: Mapping[str, float]

    @property
    def label(self) -> str:
        """How it is called."""
        return self.source.label


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs, the best first and those without the metric last."""

    metric: str
    goal: str
    entries: list[Entry]
    baseline: Entry
    columns: list[str]
    differences: list[Difference]
    question: str | None
    num_paired: int

    @property
    def best(self) -> Entry | None:
        """The run with the best value."""
        return self.entries[0] if self.entries and self.entries[0].value is not None else None

    @property
    def baseline_values(self) -> dict[str, str]:
        """The baseline's value of every key that differs."""
        place = self.entries.index(self.baseline)
        return {item.key: item.values[place] for item in self.differences}

    @property
    def failures(self) -> list[Entry]:
        """Runs that are not finished."""
        return [entry for entry in self.entries if entry.state != "finished"]


@dataclass(frozen=True, eq=False)
class _Run:
    """What was read of a run."""

    source: Source
    record: Record
    metrics: Mapping[str, float]
    scores: Scores


def compare(sources: Sequence[Source], settings: ComparisonSettings) -> Comparison:
    """Read runs and set them side by side.

    Raises:
        ConfigError: fewer than two runs, no run has the metric, nobody knows which way it is better, no such baseline.
    """
    if len(sources) < 2:
        raise ConfigError(f"a comparison needs two runs or more, not {len(sources)}; give their folders, or a sweep")
    runs = [_read(source) for source in sources]
    metric = settings.metric or _first_metric(runs)
    known = {name for run in runs for name in run.metrics}
    if metric not in known:
        raise ConfigError(f"no run has the metric '{metric}'{nearest(metric, known)}")
    goal = settings.goal or _goal(metric)
    # By place and identity: two runs may be equal in all that is read of them.
    base = runs[_baseline(sources, settings.baseline)]
    entries = {id(run): _entry(run, base, metric, goal, settings.seed) for run in runs}
    ordered = sorted(entries.values(), key=lambda entry: _rank(entry, goal))
    paired = [entry.delta.num for entry in ordered if entry.delta is not None and entry.delta.low95 is not None]
    return Comparison(
        metric=metric,
        goal=goal,
        entries=ordered,
        baseline=entries[id(base)],
        columns=_columns(metric, settings.columns, runs),
        differences=_differences(ordered),
        question=settings.text,
        num_paired=max(paired, default=0),
    )


def _read(source: Source) -> _Run:
    # A damaged file of a single run is an error: leaving the run out would change what is compared.
    there = source.state not in _WITHOUT_RUN or RunFolder(source.path).config.is_file()
    record = read_record(source.path) if there else record_without_run(source.path)
    if record.metrics.num_broken:
        raise ConfigError(
            f"{RunFolder(source.path).metrics} has {record.metrics.num_broken} damaged lines, of which one may have "
            "been the best: restore it, or remove those lines"
        )
    if record.labels_damage is not None:
        raise ConfigError(record.labels_damage)
    return _Run(source, record, metrics_of(record), read_utterances(source.path))


def _entry(run: _Run, base: _Run, metric: str, goal: str, seed: int) -> Entry:
    value, base_value = (_value(item, metric, goal) for item in (run, base))
    return Entry(
        source=run.source,
        record=run.record,
        state=run.source.state or run.record.state,
        error=run.source.error or run.record.error,
        value=value,
        interval=_interval(run, metric, seed),
        delta=None if run is base else _delta(value, base_value, run.scores, base.scores, metric, seed),
        metrics=run.metrics,
    )


def metrics_of(record: Record) -> dict[str, float]:
    """All single values of a run by key: summary.json, and the best of every validation metric."""
    found = flat_values(record.summary)
    for name, series in record.metrics.named("val/").items():
        values = series.finite.values
        if len(values):
            # The best validation, not the last: a run that overfits afterwards still has its best model.
            found[f"val/{name}"] = best_of(map(float, values), metric_of(name).better or "lower")
    return found


def _first_metric(runs: Sequence[_Run]) -> str:
    measured = [run.metrics for run in runs if run.metrics]
    for name in FIRST_METRICS:
        # One that all runs have, so that none drops out of the ranking by default.
        if measured and all(name in metrics for metrics in measured):
            return name
    return FIRST_METRICS[-1]


def _goal(metric: str) -> str:
    better = metric_of(metric).better
    if better is None:
        raise ConfigError(f"are lower or higher values of {metric} better? Set goal=minimize or goal=maximize")
    return goal_of(better)


def _value(run: _Run, metric: str, goal: str) -> float | None:
    # By the goal that was asked for, which may be another one than the metric's own.
    series = run.record.metrics.series.get(metric) if metric.startswith("val/") else None
    if series is None:
        return run.metrics.get(metric)
    values = series.finite.values
    return best_of(map(float, values), side_of(goal)) if len(values) else None


def _baseline(sources: Sequence[Source], wanted: str | None) -> int:
    if wanted is None:
        return 0
    if wanted.isdigit() and 1 <= int(wanted) <= len(sources):
        return int(wanted) - 1
    for index, source in enumerate(sources):
        if wanted == source.label or Path(wanted).expanduser().resolve() == source.path.resolve():
            return index
    raise ConfigError(
        f"baseline={wanted} is none of the {len(sources)} runs{nearest(wanted, (source.label for source in sources))}"
    )


def _interval(run: _Run, metric: str, seed: int) -> tuple[float, float] | None:
    """As the run itself states it, else from its utterances."""
    # The run's own interval first, so that its report and the comparison say the same.
    low, high = (run.metrics.get(f"{metric}{end}") for end in ("_low95", "_high95"))
    if low is not None and high is not None:
        return low, high
    found = estimate(list(run.scores.get(metric, {}).values()), seed)
    return None if found is None or found.low95 is None or found.high95 is None else (found.low95, found.high95)


def _delta(
    value: float | None, base_value: float | None, scores: Scores, base_scores: Scores, metric: str, seed: int
) -> Estimate | None:
    """The paired bootstrap over common utterances; without any the plain difference, which has no interval."""
    ours, theirs = scores.get(metric, {}), base_scores.get(metric, {})
    # Sorted, since the bootstrap draws by place: a set's order changes from process to process.
    common = sorted(ours.keys() & theirs.keys())
    if common:
        return estimate([ours[key] - theirs[key] for key in common], seed)
    # 0 utterances: nothing was paired.
    return None if value is None or base_value is None else Estimate(value - base_value, None, None, 0)


def _rank(entry: Entry, goal: str) -> tuple[bool, float]:
    # True sorts last: runs without a value come after all others.
    if entry.value is None:
        return True, 0.0
    return False, cost(entry.value, side_of(goal))


def _columns(metric: str, wanted: Sequence[str], runs: Sequence[_Run]) -> list[str]:
    """Further metrics to show: those asked for, then usual ones that some run has."""
    known = {name for run in runs for name in run.metrics}
    for name in wanted:
        if name not in known:
            raise ConfigError(f"no run has the column '{name}'{nearest(name, known)}")
    usual = [name for name in _usual(known) if name not in wanted and name != metric]
    return [*wanted, *usual[: max(0, MOST_COLUMNS - len(wanted))]]


def _usual(known: Collection[str]) -> list[str]:
    """`val/objective`, then the headline metrics of trained heads: wide heads first, the high band first."""
    trained = [name for name in known if name.partition("/")[0] not in _NOT_TRAINED and metric_of(name).headline]
    wide = {name.rpartition("/")[0] for name in trained if metric_of(name).high_band}

    def place(name: str) -> tuple[bool, bool, tuple[int, str]]:
        return name.rpartition("/")[0] not in wide, not metric_of(name).high_band, order_of(name)

    first = [name for name in ("val/objective",) if name in known]
    return first + sorted(trained, key=place)


def _differences(entries: Sequence[Entry]) -> list[Difference]:
    """What the configs differ in; keys that the sweep varies first."""
    # + and ~ are Hydra's marks for keys that are added and removed.
    varied = {override.lstrip("+~").partition("=")[0] for entry in entries for override in entry.source.varied}
    found = differences_between_runs([entry.record.config for entry in entries])
    return sorted(found, key=lambda item: not any(item.key == key or item.key.startswith(f"{key}.") for key in varied))
