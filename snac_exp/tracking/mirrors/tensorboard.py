"""The mirror of metrics.jsonl in TensorBoard: one event per line, in RUN_DIR/tensorboard."""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import soundfile
from PIL import Image

from snac_exp.errors import ConfigError
from snac_exp.tracking.mirrors.all_mirrors import one_line
from snac_exp.tracking.mirrors.event_file import EventFile
from snac_exp.tracking.run_folder import RunFolder

_HEADER = ("step", "epoch", "time")  # numbers of a line that are no metrics


class TensorBoardMirror:
    """Writes each line of metrics.jsonl as one event, each exactly once over any number of kills and resumes.

    Events are counted, so what the file has already is known from the file itself. A value that was not finite is NaN.
    Samples are the wavs and pictures as they lie in the folder. `values`: the resolved config, shown as hparams.
    """

    title = "TensorBoard"

    def __init__(self, run_dir: Path, values: Mapping[str, Any], num_lines: int) -> None:
        """Start or go on, cut back to the first `num_lines` lines.

        Raises:
            ConfigError: the file cannot be written.
        """
        self._run_dir = run_dir
        self._head = list(_head(values))
        try:
            self._file = self._opened(num_lines)
        except OSError as error:
            raise ConfigError(
                f"TensorBoard did not start ({one_line(error)}): see to {RunFolder(run_dir).tensorboard}, or train "
                "without it: tracker.tensorboard=false"
            ) from error

    def log(self, number: int, line: Mapping[str, Any]) -> None:
        """Write line `number` (from 1), unless the file has it."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if number <= self._file.num_records:
            return
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in _scalars(line).items()]
        if line["kind"] == "samples":
            shown += _media(self._run_dir / line["directory"])
        event = Event(wall_time=line["time"], step=line["step"], summary=Summary(value=shown))
        self._file.append(event.SerializeToString())

    def rewind(self, num_lines: int) -> None:
        """Take back what comes after line `num_lines`."""
        if num_lines < self._file.num_records:
            self._file.close()
            self._file = self._opened(num_lines)

    def close(self, failed: bool) -> None:
        """Nothing more is written; TensorBoard has no word for a run that failed."""
        self._file.close()

    def _opened(self, num_lines: int) -> EventFile:
        return EventFile(RunFolder(self._run_dir).tensorboard, self._head, num_lines)


def _scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a line by name."""
    numbers = {name: value for name, value in line.items() if value is None or isinstance(value, int | float)}
    return {name: math.nan if value is None else value for name, value in numbers.items() if name not in _HEADER}


def _head(values: Mapping[str, Any]) -> Iterator[bytes]:
    """Events that stand before the lines: the format, a start that makes an open TensorBoard forget what it has read of
    a file before, and the hparams."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    now = time.time()
    info = SessionStartInfo(start_time_secs=now)
    for name, value in _hparams(values):
        field = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(info.hparams[name], field, value)
    about = metadata.create_summary_metadata(HParamsPluginData(session_start_info=info))
    shown = Summary.Value(tag=metadata.SESSION_START_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    events = (
        Event(wall_time=now, file_version="brain.Event:2"),
        Event(wall_time=now, session_log=SessionLog(status=SessionLog.START)),
        Event(wall_time=now, summary=Summary(value=[shown])),
    )
    yield from (event.SerializeToString() for event in events)


def _hparams(values: Any, name: str = "") -> Iterator[tuple[str, bool | float | str]]:
    """Values by dotted key: numbers and switches as such, all else as text."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from _hparams(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, values if isinstance(values, bool | int | float | str) else str(values)


def _media(folder: Path) -> list[Any]:
    """Wavs and pictures of a folder of samples, byte for byte."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    shown = []
    for path in sorted(folder.glob("*.wav")):
        about = soundfile.info(str(path))
        audio = Summary.Audio(
            sample_rate=about.samplerate,
            num_channels=about.channels,
            length_frames=about.frames,
            encoded_audio_string=path.read_bytes(),
            content_type="audio/wav",
        )
        shown.append(Summary.Value(tag=f"samples/{path.stem}", audio=audio))
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            width, height = picture.size
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=path.read_bytes())
        shown.append(Summary.Value(tag=f"pictures/{path.stem}", image=image))
    return shown
