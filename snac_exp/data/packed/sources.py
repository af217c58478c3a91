"""The audio files behind the rows of a manifest, each once: several rows may be segments of one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from snac_exp.data.files.recording import Recording, sha1_of_segment
from snac_exp.data.prepared.places import Place, Places
from snac_exp.errors import DataError

UNLISTED = ""  # as the SHA-1 of a row: nobody has read its file before
Int64Array = npt.NDArray[np.int64]


class AudioFiles(Protocol):
    """What is packed: audio files by number, with names that differ and the speaker of each."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def speakers(self) -> Sequence[str]: ...
    def recording(self, file: int) -> Recording: ...
    def is_listed(self, file: int, sha1: str) -> bool:
        """Whether a file of this SHA-1 is the one that was listed."""
        ...


@dataclass(frozen=True)
class ManifestFiles:
    """Of the rows of a manifest. file_of (rows,): number of each row's file; first_row (files,): of each file."""

    input_dir: Path
    table: pa.Table
    places: Places
    names: list[str]
    speakers: list[str]
    file_of: Int64Array
    first_row: Int64Array

    @classmethod
    def of(cls, table: pa.Table, input_dir: Path) -> "ManifestFiles":
        """Of a manifest's table, whose audio lies below `input_dir`."""
        keys = _keys(table).dictionary_encode()
        keys = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
        file_of = keys.indices.to_numpy().astype(np.int64)
        _, first_row = np.unique(file_of, return_index=True)
        speakers = table["speaker"].take(pa.array(first_row)).to_pylist()
        return cls(input_dir, table, Places.of_table(table), keys.dictionary.to_pylist(), speakers, file_of, first_row)

    def place(self, row: int) -> Place:
        """Where a row lies in the source."""
        return self.places[row]

    def recording(self, file: int) -> Recording:
        """The whole audio file."""
        return self.place(int(self.first_row[file])).below(self.input_dir).whole

    def is_listed(self, file: int, sha1: str) -> bool:
        """By the SHA-1 of the first row in it."""
        row = int(self.first_row[file])
        segment, listed = self.place(row).segment, str(self.table["sha1"][row].as_py())
        return listed in (UNLISTED, sha1 if segment is None else sha1_of_segment(sha1, segment))


def _keys(table: pa.Table) -> Any:
    """A name for the audio file of every row (rows,)."""
    if "file" not in table.schema.names:
        return table["path"]
    first = pc.cast(table["first_byte"], pa.string())
    return pc.binary_join_element_wise(table["file"], first, "@")


def sizes_of(files: AudioFiles) -> Int64Array:
    """Bytes of all files (files,); DataError for one that is not there."""
    sizes = np.empty(len(files.names), np.int64)
    for file in range(len(sizes)):
        recording = files.recording(file)
        try:
            sizes[file], _ = recording.stamp()
        except OSError as error:
            raise DataError(f"{recording}: cannot be read ({error.strerror}); prepare the folder again") from error
    return sizes
