"""What an evaluation says: means with intervals per output, the gain over the baselines, and what is missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snac_exp.evaluation.estimates import Difference, by_output, differences, estimates
from snac_exp.evaluation.evaluate import Protocol
from snac_exp.evaluation.folder import Row
from snac_exp.evaluation.systems import BASELINE, BASELINE_NOISE, REFERENCE, System
from snac_exp.evaluation.tables import ABSENT, Grid, cell, document, heading
from snac_exp.evaluation.utterances import Utterance
from snac_exp.evaluation.words.recognition import text_of
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import METRICS, WIDE_RATE, missing_metrics
from snac_exp.release.outputs import rate_label

FEW = 20
"""Below this many utterances the bootstrap's intervals are too narrow."""


@dataclass(frozen=True)
class Report:
    """Rows of one evaluation, and all that is said of them; everything but speed follows from the rows.

    dropped: utterances without a reference at any of the rates.
    """

    system: System
    protocol: Protocol
    utterances: Sequence[Utterance]
    dropped: Sequence[Utterance]
    rows: Sequence[Row]

    def summary(self) -> dict[str, Any]:
        """Contents of summary.json."""
        outputs = {}
        for name, rows in by_output(self.rows).items():
            means = estimates(rows, self.protocol.seed)
            outputs[name] = {
                "rate": rows[0]["rate"],
                "made_from": rows[0]["made_from"],
                "utterances": len(rows),
                "measures": {key: None if found is None else found.to_json() for key, found in means.items()},
            }
        return {
            "system": self.system.name,
            "bits_per_second": self.system.bitrate,
            "utterances": self._counts(),
            "outputs": outputs,
            "against": {
                name: {item.metric.name: item.to_json() for item in items}
                for name, items in {**self._against(), **self._against_reference()}.items()
            },
            "missing": missing_metrics(),
            "notes": self.notes(),
        }

    def grids(self) -> list[Grid]:
        """The tables: means with intervals, and the gain over the baselines."""
        groups = by_output(self.rows)
        means = {name: estimates(rows, self.protocol.seed) for name, rows in groups.items()}
        columns = [f"{name}\n({groups[name][0]['made_from']})" for name in groups]
        # METRICS in their own order, so that two reports can be read side by side whatever was measured first.
        shown = [metric for metric in METRICS if any(metric.name in found for found in means.values())]
        rows = [[heading(it), *(cell(it, found.get(it.name)) for found in means.values())] for it in shown]
        grids = [Grid(self._title(), ["mean [95 %]", *columns], rows)]
        against = self._against()
        if against:
            rows = [[heading(it), *(_change(it, items) for items in against.values())] for it in shown]
            names = [name if " - " in name else f"{rate_label(WIDE_RATE)} - {name}" for name in against]
            grids.append(Grid("48 kHz outputs compared, paired by utterance", ["difference [95 %]", *names], rows))
        beside = self._against_reference()
        if beside:
            alone = [it for it in shown if it.reference_free]
            rows = [[heading(it), *(_change(it, items) for items in beside.values())] for it in alone]
            grids.append(Grid("outputs against the recording, paired", ["difference [95 %]", *beside], rows))
        return grids

    def notes(self) -> list[str]:
        """What a reader must know to read the tables."""
        return [*self._missing_notes(), *self._band_notes(), *self._undefined_notes(), *self._size_notes()]

    def markdown(self) -> str:
        """Contents of summary.md."""
        return document(self.grids(), self.notes())

    def _title(self) -> str:
        counts = self._counts()
        bitrate = self.system.bitrate
        rate = "" if bitrate is None else f"; {bitrate / 1000:.2f} kbps"
        split = self.protocol.selection.split
        people = f"{counts['speakers']} speakers, {counts['seconds']:.0f} s"
        return f"{self.system.name}: {counts['num']} {split} utterances, {people}{rate}"

    def _counts(self) -> dict[str, Any]:
        # The kind of the failure alone: its text holds the file's own numbers.
        narrow = Counter(item.narrow[0] for item in self.utterances if item.narrow is not None)
        return {
            "num": len(self.utterances),
            "speakers": len({item.row.speaker for item in self.utterances}),
            "seconds": sum(item.seconds for item in self.utterances),
            "native_high_band": sum(item.native_high_band for item in self.utterances),
            "not_native": dict(sorted(narrow.items())),
            "shortened": sum(item.num_samples < item.row.num_samples for item in self.utterances),
            "without_48k": sum(not item.has(WIDE_RATE) for item in self.utterances),
            "dropped": len(self.dropped),
        }

    def _against(self) -> dict[str, list[Difference]]:
        """The 48 kHz output against each baseline beside it, by the baseline's name.

        Several outputs at 48 kHz are candidates: each against the baselines and against the first, as `B - A`.
        """
        groups, seed = by_output(self.rows), self.protocol.seed
        baselines = [name for name in (BASELINE, BASELINE_NOISE) if name in groups]
        wide = [
            name
            for name, rows in groups.items()
            if rows[0]["rate"] == WIDE_RATE and name not in (*baselines, REFERENCE)
        ]
        # With a single candidate the baseline's name says it all, and the keys of summary.json stay as they were.
        if len(wide) == 1:
            return {name: differences(groups[name], groups[wide[0]], seed) for name in baselines}
        # The first is the one that all others are compared with, as in a sweep's comparison.
        pairs = [(name, wide[0]) for name in wide[1:]] + [(name, other) for name in wide for other in baselines]
        return {f"{name} - {other}": differences(groups[other], groups[name], seed) for name, other in pairs}

    def _against_reference(self) -> dict[str, list[Difference]]:
        """Every output against the recording, in metrics that need no reference, as `OUTPUT - reference`."""
        groups, seed = by_output(self.rows), self.protocol.seed
        recording = groups.pop(REFERENCE, [])
        # Metrics that the recording has no value of are left out by themselves.
        return {
            f"{name} - {REFERENCE}": differences(recording, rows, seed) for name, rows in groups.items() if recording
        }

    def _missing_notes(self) -> list[str]:
        notes = [f"column {name} is missing: {reason}" for name, reason in missing_metrics().items()]
        if self.protocol.quality and self.protocol.asr is None:
            texts = sum(text_of(item) is not None for item in self.utterances)
            notes.append(
                "word and character error rates are absent: they need asr=FOLDER of a recogniser, and recordings with "
                f"a text, which {texts} of {len(self.utterances)} here have"
            )
        return notes

    def _band_notes(self) -> list[str]:
        counts, edge = self._counts(), self.protocol.selection.wide_band.min_cutoff_hz
        if WIDE_RATE not in self.protocol.rates or counts["native_high_band"] == counts["num"]:
            return []
        kinds = ", ".join(f"{kind} {num}" for kind, num in counts["not_native"].items())
        return [
            f"above 12 kHz {counts['native_high_band']} of {counts['num']} recordings count: those that reach "
            f"{edge / 1000:g} kHz by themselves (left out: {kinds})"
        ]

    def _undefined_notes(self) -> list[str]:
        notes = []
        for name, rows in by_output(self.rows).items():
            for metric in METRICS:
                # What does not count above 12 kHz is left out there on purpose; its None is no undefined value.
                expected = [row for row in rows if row["native_high_band"] or not metric.high_band]
                num = sum(row[metric.name] is None for row in expected if metric.name in row)
                if num:
                    notes.append(
                        f"{metric.title} of {name} is undefined, so left out, in {num} of {len(expected)} utterances"
                    )
        return notes

    def _size_notes(self) -> list[str]:
        counts, notes = self._counts(), []
        if counts["shortened"]:
            most = self.protocol.selection.max_seconds
            notes.append(f"longer than max_seconds={most:g}, so that the beginning counts: {counts['shortened']}")
        if WIDE_RATE in self.protocol.rates and counts["without_48k"]:
            notes.append(f"below 48 kHz, so without a row at 48 kHz: {counts['without_48k']}")
        if counts["dropped"]:
            notes.append(f"below every rate asked for, so left out: {counts['dropped']}")
        if counts["num"] < FEW:
            notes.append(f"with fewer than {FEW} utterances the intervals are too narrow")
        return notes


def _change(metric: Metric, items: Sequence[Difference]) -> str:
    """A signed difference with its interval, and which way it points where 0 is outside."""
    found = next((item for item in items if item.metric is metric), None)
    if found is None:
        return ABSENT
    return f"{cell(metric, found.change, signed=True)} {found.verdict or 'within'}"


def speed_line(speed: Mapping[str, Any]) -> str:
    """The real-time factors for the terminal."""
    return (
        f"real-time factor (seconds of computing per second of audio): encode {speed['encode_real_time_factor']:.3f}, "
        f"decode {speed['decode_real_time_factor']:.3f} on {speed['device']}, {speed['num_threads']} threads"
    )
