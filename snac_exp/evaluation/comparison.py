"""Two evaluations side by side: paired differences over the utterances that both have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError, DataError
from snac_exp.evaluation.estimates import Difference, by_output, differences
from snac_exp.evaluation.evaluate import comparable
from snac_exp.evaluation.folder import Evaluation
from snac_exp.evaluation.systems import REFERENCE
from snac_exp.evaluation.tables import Grid, cell, document, heading
from snac_exp.release.files.job import refuse_existing
from snac_exp.system.files import write_signed_json, write_text

COMPARISON_NAME = "comparison.json"
_NAMED = 3  # utterances of each kind in a message


@dataclass(frozen=True)
class Comparison:
    """What a later evaluation gained or lost against an earlier one.

    outputs: name -> its differences; notes: what else is not the same.
    """

    before: str
    after: str
    num_utterances: int
    outputs: dict[str, list[Difference]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Contents of comparison.json."""
        return {
            "before": self.before,
            "after": self.after,
            "utterances": self.num_utterances,
            "outputs": {
                name: {item.metric.name: item.to_json() for item in items} for name, items in self.outputs.items()
            },
            "outside": {
                name: [item.metric.name for item in items if item.verdict is not None]
                for name, items in self.outputs.items()
            },
            "notes": self.notes,
        }

    def grids(self) -> list[Grid]:
        """One table per output."""
        return [self._grid(name, items) for name, items in self.outputs.items()]

    def markdown(self) -> str:
        """Contents of comparison.md."""
        return document(self.grids(), self.notes)

    def write(self, folder: Path) -> Path:
        """Write comparison.json and comparison.md into a folder; ConfigError if there is a comparison already."""
        # Before the Markdown file, so that nothing of an earlier comparison is replaced.
        refuse_existing(folder / COMPARISON_NAME)
        write_text(folder / "comparison.md", self.markdown())
        write_signed_json(folder / COMPARISON_NAME, self.to_json())
        return folder / COMPARISON_NAME

    def _grid(self, name: str, items: list[Difference]) -> Grid:
        rows = []
        for item in items:
            means = (item.metric.text(value) for value in (item.before, item.after))
            change = cell(item.metric, item.change, signed=True)
            rows.append([heading(item.metric), *means, change, str(item.change.num), item.verdict or "within"])
        title = f"{name}: {self.after} against {self.before}, {self.num_utterances} utterances, paired"
        return Grid(title, ["", "before", "after", "difference [95 %]", "num", "verdict"], rows)


def compare(before: Evaluation, after: Evaluation, *, shared_only: bool = False) -> Comparison:
    """Differences of the outputs that both have, paired by utterance.

    Raises:
        DataError, ConfigError: see `require_comparable`; DataError also if they share no output.
    """
    shared = require_comparable(before, after.settings["protocol"], _utterances(after), shared_only=shared_only)
    early, late = (by_output(row for row in it.rows if row["sha1"] in shared) for it in (before, after))
    # An output that only one of them has cannot be compared; the rest still can.
    # The recording is no system: measured twice it is the same.
    names = [name for name in late if name in early and name != REFERENCE]
    if not names:
        raise DataError(
            f"{before.path} has the outputs {', '.join(early)}, {after.path} has {', '.join(late)}: none is in both; "
            "evaluate at the same rates"
        )
    seed = int(after.settings["protocol"]["seed"])
    outputs = {name: differences(early[name], late[name], seed) for name in names}
    return Comparison(before.name, after.name, len(shared), outputs, _notes(before, after, outputs))


def require_comparable(
    before: Evaluation, protocol: Mapping[str, Any], utterances: Mapping[str, str], *, shared_only: bool
) -> set[str]:
    """The SHA-1s of the utterances that an evaluation shares with others (SHA-1 -> path) measured by a protocol.

    Raises:
        ConfigError: the protocols give the values another meaning.
        DataError: no utterance is shared, or some are not and `shared_only` is false; names them.
    """
    then, now = comparable(before.settings["protocol"]), comparable(dict(protocol))
    # Only where both have one: without a recogniser there are no error rates to compare.
    if "asr" in before.settings["protocol"] and "asr" in protocol:
        then, now = then | {"asr": before.settings["protocol"]["asr"]}, now | {"asr": protocol["asr"]}
    # Values under another protocol look alike and mean something else, so this is no note but an error.
    changed = [f"{key} was {then[key]} and is {now[key]}" for key in now if then[key] != now[key]]
    if changed:
        raise ConfigError(
            f"{before.path} was measured with other settings: {'; '.join(changed)}; evaluate one of them again"
        )
    earlier = _utterances(before)
    shared = earlier.keys() & utterances.keys()
    only_before = sorted(earlier[sha1] for sha1 in earlier.keys() - shared)
    only_after = sorted(utterances[sha1] for sha1 in utterances.keys() - shared)
    differ = f"only the earlier has {_few(only_before)}; only the later has {_few(only_after)}"
    if not shared:
        raise DataError(f"{before.path} has no utterance in common with this evaluation: {differ}")
    # Comparing what is left without being told to would hide that one of them had the harder files.
    if (only_before or only_after) and not shared_only:
        raise DataError(
            f"{before.path} has other utterances: {differ}; {len(shared)} are in both: evaluate the same ones, or "
            "compare those with compare_shared=true"
        )
    return set(shared)


def _utterances(evaluation: Evaluation) -> dict[str, str]:
    return {row["sha1"]: row["path"] for row in evaluation.rows}


def _few(paths: list[str]) -> str:
    if not paths:
        return "none"
    more = f", … ({len(paths)})" if len(paths) > _NAMED else f" ({len(paths)})"
    return ", ".join(paths[:_NAMED]) + more


def _notes(before: Evaluation, after: Evaluation, outputs: Mapping[str, list[Difference]]) -> list[str]:
    """What differs beside the systems, and how to read many intervals at once."""
    notes = []
    for key in ("versions", "device"):
        then, now = before.settings.get(key), after.settings.get(key)
        if then != now:
            notes.append(f"other {key}: {then} then, {now} now")
    if before.settings["protocol"]["seed"] != after.settings["protocol"]["seed"]:
        notes.append("other seed: the decoders drew other noise")
    missing = before.settings["protocol"]["missing"] | after.settings["protocol"]["missing"]
    notes += [f"column {name} is missing in one of them: {reason}" for name, reason in missing.items()]
    for key in ("quality", "asr"):
        early, late = (it.settings["protocol"].get(key) for it in (before, after))
        if early != late:
            notes.append(f"other {key}: {early} then, {late} now; what one of them alone measured is not compared")
    # A 95 % interval leaves 0 out in one case of twenty although nothing differs.
    num = sum(len(items) for items in outputs.values())
    notes.append(
        "better, worse: 0 lies outside of the interval; within: no difference was shown. "
        f"Of {num} intervals about {max(1, round(num / 20))} would leave out 0 by chance alone"
    )
    return notes
