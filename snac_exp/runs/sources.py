"""What a run on a mixture saw of each source and how well it did on it in the end, by keys of summary.json."""

from collections.abc import Mapping

from snac_exp.tracking.metrics_file import lines_of_kind
from snac_exp.tracking.run_folder import RunFolder

_VALIDATION = "val/source/"


def measured_of_sources(folder: RunFolder, rows_seen: Mapping[str, int]) -> dict[str, float]:
    """`source/NAME/rows_seen`, and every metric of the last validation; nothing for a run without a mixture.

    Out of metrics.jsonl: a run that is resumed behind its last step does not validate again.
    """
    if not rows_seen:
        return {}
    lines = lines_of_kind(folder.metrics, folder.metrics.read_bytes(), "validation")
    last = {key: value for key, value in (lines[-1] if lines else {}).items() if value is not None}
    values = {key.removeprefix("val/"): value for key, value in last.items() if key.startswith(_VALIDATION)}
    return {f"source/{name}/rows_seen": float(number) for name, number in rows_seen.items()} | values
