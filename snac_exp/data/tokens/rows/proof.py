"""The proof that rows are what they should be: read back, turned into codes, decoded, and compared bit for bit.

Our own reader checks every file. Some rows are opened by the datasets library too, as a trainer would, and their codes
are decoded beside those of the cache.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.tokens.rows.files import SCHEMA, TokenRow, read_rows, write_rows
from snac_exp.data.tokens.rows.hf import complete_folder, quiet_datasets
from snac_exp.data.tokens.rows.options import ExportOptions
from snac_exp.data.tokens.rows.plan import Plan
from snac_exp.data.tokens.rows.utterances import Piece, Utterances
from snac_exp.errors import DataError
from snac_exp.lm.layouts.ids import Ids
from snac_exp.lm.layouts.streams import read_ids

_MEND = "remove the file, or export to another folder"
_BUILDERS = {"parquet": "parquet", "jsonl": "json"}  # the datasets library's names


def prove_file(path: Path, utterances: Utterances, pieces: Iterator[Piece]) -> int:
    """Compare all rows of a file with the cache; the number of ids in them.

    Raises:
        DataError: a row is not as it should be, or there are more or fewer of them; names the file and the row.
    """
    found, num_ids = read_rows(path), 0
    for number, piece in enumerate(pieces):
        read = next(found, None)
        _compare(read, utterances, piece, f"{path}, row {number}")
        num_ids += len(read.input_ids) if read is not None else 0
    if next(found, None) is not None:
        raise DataError(f"{path}: more rows than belong there; {_MEND}")
    return num_ids


class Trial:
    """A few rows of a plan: the first, shortest and longest of the first file of every split."""

    def __init__(self, utterances: Utterances, plan: Plan, codec: LoadedCodec) -> None:
        self.utterances, self.plan, self.codec = utterances, plan, codec
        self.files = {split: names[0] for split, names in plan.splits.items()}

    def before(self) -> str:
        """Write them to a temporary folder and prove them there; a line for people."""
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            chosen = {split: [piece for _, piece in self._chosen(name)] for split, name in self.files.items()}
            for split, pieces in chosen.items():
                write_rows(folder / self.files[split], map(self.utterances.token_row, pieces))
            finish_folder(folder, self.utterances.options, {split: [name] for split, name in self.files.items()})
            return self._proved(folder, {split: list(enumerate(pieces)) for split, pieces in chosen.items()})

    def after(self, folder: Path) -> str:
        """Prove them where they were written; a line for people."""
        return self._proved(folder, {split: self._chosen(name) for split, name in self.files.items()})

    def _chosen(self, name: str) -> list[tuple[int, Piece]]:
        """Numbers in the file and pieces."""
        pieces = list(enumerate(self.plan.pieces(name)))
        by_length = sorted(pieces, key=lambda item: item[1].end - item[1].start)
        return list(dict.fromkeys([pieces[0], by_length[0], by_length[-1]]))

    def _proved(self, folder: Path, chosen: dict[str, list[tuple[int, Piece]]]) -> str:
        opened = _by_datasets if find_spec("datasets") else _by_ourselves
        num = 0
        for split, name in self.files.items():
            pieces = dict(chosen[split])
            for number, row in opened(folder, split, folder / name, self.utterances.options, sorted(pieces)):
                where = f"{folder / name}, row {number}"
                codes = _compare(row, self.utterances, pieces[number], where)
                self._compare_audio(codes, pieces[number], where)
                num += 1
        reader = "the datasets library" if find_spec("datasets") else "this program; the datasets library is not here"
        return f"{num} rows read back by {reader}, and decoded: bit for bit as the cache"

    def _compare_audio(self, codes: Sequence[Ids], piece: Piece, where: str) -> None:
        if not torch.equal(_decoded(self.codec, codes), _decoded(self.codec, self.utterances.codes(piece))):
            raise DataError(f"{where}: its audio is not that of {self.utterances.path(piece)} in the cache; {_MEND}")


def finish_folder(folder: Path, options: ExportOptions, splits: dict[str, list[str]]) -> None:
    """What a folder of this format has beside its files of rows."""
    if options.format == "hf":
        complete_folder(folder, SCHEMA, splits)


def _by_datasets(
    folder: Path, split: str, path: Path, options: ExportOptions, numbers: list[int]
) -> Iterator[tuple[int, TokenRow]]:
    with quiet_datasets() as library, TemporaryDirectory() as cache:
        if options.format == "hf":
            data = library.load_from_disk(str(folder))[split]
        else:
            builder = _BUILDERS[options.format]
            data = library.load_dataset(builder, data_files={split: str(path)}, cache_dir=cache, split=split)
        for number in numbers:
            row: dict[str, Any] = data[number]
            yield number, TokenRow(**{name: row[name] for name in SCHEMA.names})


def _by_ourselves(
    folder: Path, split: str, path: Path, options: ExportOptions, numbers: list[int]
) -> Iterator[tuple[int, TokenRow]]:
    return ((number, row) for number, row in enumerate(read_rows(path)) if number in numbers)


def _compare(read: TokenRow | None, utterances: Utterances, piece: Piece, where: str) -> list[Ids]:
    """The codes that the reader of layouts finds in a row; DataError unless it is the row that belongs there."""
    codes = [] if read is None else read_ids([read.input_ids], utterances.layout).codes
    expected = utterances.codes(piece)
    same = len(codes) == len(expected) and all(map(_equal, codes, expected))
    if not same or read != utterances.token_row(piece):
        raise DataError(
            f"{where}: not {utterances.path(piece)} as the cache and layout {utterances.layout.name} have it; {_MEND}"
        )
    return codes


def _equal(one: Ids, other: Ids) -> bool:
    return len(one) == len(other) and bool((one == other).all())


@torch.no_grad()
def _decoded(codec: LoadedCodec, codes: Sequence[Ids]) -> torch.Tensor:
    """Audio (1, 1, N); noise blocks draw the same noise every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        audio: torch.Tensor = codec.model.decode([torch.from_numpy(row)[None] for row in codes])
    return audio
