"""RUN_DIR/utterances.parquet: the evaluation utterance by utterance, so that two runs can be compared in pairs.

A row per utterance and candidate: `utterance` (its path below the folder of audio), `seconds`, `candidate` as in
summary.json (`head_48k`, `initial/head_48k`, `baseline`), and a column per metric, null where it is undefined.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from snac_exp.data.checked_parquet import read_parquet, write_parquet
from snac_exp.errors import DataError
from snac_exp.tracking.run_folder import RunFolder

_FIELDS = ("utterance", "seconds", "candidate")

Utterance = tuple[str, float]
"""Path and length in seconds: a file of another length under the same name is another utterance."""

Scores = dict[str, dict[Utterance, float]]
"""`candidate/metric` -> value of every utterance where it is defined."""


def write_utterances(
    run_dir: Path, utterances: Sequence[Utterance], scores: Mapping[str, Sequence[float | None]]
) -> Path:
    """Write the file atomically from `candidate/metric` -> one value per utterance; returns its path."""
    candidates = list(dict.fromkeys(key.rpartition("/")[0] for key in scores))
    metrics = list(dict.fromkeys(key.rpartition("/")[2] for key in scores))
    rows = [
        {"utterance": name, "seconds": seconds, "candidate": candidate}
        | {metric: scores.get(f"{candidate}/{metric}", nothing)[place] for metric in metrics}
        for candidate in candidates
        for nothing in [[None] * len(utterances)]
        for place, (name, seconds) in enumerate(utterances)
    ]
    fields = [("utterance", pa.string()), ("seconds", pa.float64()), ("candidate", pa.string())]
    schema = pa.schema([*fields, *((metric, pa.float64()) for metric in metrics)])
    path = RunFolder(run_dir).utterances
    write_parquet(path, pa.Table.from_pylist(rows, schema=schema))
    return path


def read_utterances(run_dir: Path) -> Scores:
    """The scores of a run; none where it was not measured utterance by utterance.

    Raises:
        DataError: the file is not what `write_utterances` writes.
    """
    path = RunFolder(run_dir).utterances
    if not path.exists():
        return {}
    table: pa.Table = read_parquet(path, "list of utterances", "remove it, or copy it again", pq.ParquetFile.read)
    missing = [name for name in _FIELDS if name not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; remove it, or measure the run again")
    scores: Scores = {}
    for row in table.to_pylist():
        name, seconds, candidate = (row.pop(field) for field in _FIELDS)
        for metric, value in row.items():
            if value is not None:
                # Rounded: at another rate an utterance is longer by part of a sample, and pairs would be lost.
                scores.setdefault(f"{candidate}/{metric}", {})[name, round(seconds, 3)] = value
    return scores
