"""A folder of targets restored by Sidon: its models from a directory or the hub, files of a manifest through them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from snac_exp.data.files.decoding import Float32Array
from snac_exp.data.files.reading import read_channels
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.rejection import Rejection
from snac_exp.data.targets.folder import Format, TargetFolder, TargetSummary
from snac_exp.data.targets.sidon import OUTPUT_RATE, FrontEnd, Sidon
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.files import sha256_of_file
from snac_exp.system.hub import download, hub_access
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.progress import progress_display


def load_sidon(
    path: str | None,
    hub_id: str | None,
    front_end: str,
    device: str,
    *,
    chunk_seconds: float = 60.0,
    max_batch_chunks: int = 4,
    restore_level: bool = False,
) -> tuple[Sidon, dict[str, Any]]:
    """Sidon from a local directory or the hub, and what identifies it in targets.json.

    The files are those for the device: feature_extractor_cuda.pt and decoder_cuda.pt, or ..._cpu.pt. front_end: hub id
    or local directory of w2v-BERT 2.0's preprocessor_config.json.
    Raises ConfigError if transformers is not installed, DataError if a file is missing or is no TorchScript.
    """
    if not chunk_seconds >= 1:
        raise ConfigError(f"sidon.chunk_seconds={chunk_seconds} must be at least 1; the published value is 60")
    kind = "cuda" if torch.device(device).type == "cuda" else "cpu"
    files = [_model_file(path, hub_id, f"{name}_{kind}.pt") for name in ("feature_extractor", "decoder")]
    extractor, decoder = (_torchscript(file, device) for file in files)
    loaded = Sidon(
        _load_front_end(front_end), extractor, decoder, torch.device(device),
        chunk_seconds, max_batch_chunks, restore_level,
    )  # fmt: skip
    settings = {
        "feature_extractor_sha256": sha256_of_file(files[0]),
        "decoder_sha256": sha256_of_file(files[1]),
        # The name alone, so that a copy in a folder of this name continues what the hub's began.
        "front_end": Path(front_end).name,
        "chunk_seconds": chunk_seconds,
    }
    return loaded, settings


def _model_file(path: str | None, hub_id: str | None, name: str) -> Path:
    if path is not None:
        file = Path(path).expanduser() / name
        refuse_file(file.parent, "the folder of Sidon's TorchScript files", DataError)
        if not file.exists():
            raise DataError(f"{file}: no such file; sidon.path names the folder of Sidon's TorchScript files")
        return file
    if hub_id is None:
        raise ConfigError("say where Sidon lies: sidon.path=DIR or sidon.hub_id=OWNER/NAME")
    return download(hub_id, (name,), mend="set sidon.path=DIR", error=DataError) / name


def _torchscript(file: Path, device: str) -> Any:
    try:
        return torch.jit.load(str(file), map_location=device).eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{file}: not a TorchScript file that loads on {device} ({error})") from error


def _load_front_end(name: str) -> FrontEnd:
    try:
        from transformers import SeamlessM4TFeatureExtractor  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ConfigError("kind=sidon needs transformers: pip install 'snac_exp[sidon]'") from error
    with hub_access(name, "preprocessor_config.json", mend="set sidon.front_end=DIR", error=DataError):
        front_end: FrontEnd = SeamlessM4TFeatureExtractor.from_pretrained(name)
    return front_end


def sidon_targets(
    manifest: Manifest,
    output_dir: Path,
    sidon: Sidon,
    settings: Mapping[str, Any],
    *,
    file_format: Format = "flac",
    shard: tuple[int, int] = (0, 1),
    max_batch_seconds: float = 300.0,
    retry_rejected: bool = False,
) -> TargetSummary:
    """Restore every file of this process's part; `settings` says which models, so that no others continue the folder.

    Files are taken by length, so that chunks of equal length meet in one batch.
    """
    what = {"kind": "sidon", "restore_level": sidon.restore_level, **settings}
    folder = TargetFolder(manifest, output_dir, OUTPUT_RATE, file_format, what, shard)
    todo = sorted(folder.begin(retry_rejected), key=lambda row: (row.seconds, row.path))
    with progress_display("targets", len(todo)) as advance:
        for rows in _batches(todo, max_batch_seconds):
            for row, result in zip(rows, _restored(manifest, rows, sidon), strict=True):
                folder.keep(row, result)
            advance(len(rows), f"{sum(row.seconds for row in rows):.0f} s in the last batch")
    return folder.finish()


def _restored(manifest: Manifest, rows: Sequence[ManifestRow], sidon: Sidon) -> Iterable[Float32Array | Rejection]:
    """The target (num,), or why there is none, of every row; a file that fails takes none of its neighbours along."""
    results: dict[str, Float32Array | Rejection] = {}
    readable: list[tuple[ManifestRow, tuple[Float32Array, int]]] = []
    for row in rows:
        try:
            signal, rate = read_channels(manifest.recording(row), manifest.limits)
            if (len(signal), rate) != (row.num_samples, row.rate):
                raise DataError(f"{row.path}: has changed since the manifest was made; prepare the folder again")
            # `restore` would raise for the whole batch.
            if not signal.any():
                raise DataError(f"{row.path}: silent, there is nothing to restore")
        except DataError as error:
            results[row.path] = Rejection(row.path, "unreadable", str(error))
        else:
            readable.append((row, (signal, rate)))
    restored = sidon.restore([file for _, file in readable]) if readable else []
    results |= {row.path: target for (row, _), target in zip(readable, restored, strict=True)}
    return [results[row.path] for row in rows]


def _batches(rows: Sequence[ManifestRow], max_seconds: float) -> Iterator[list[ManifestRow]]:
    """Neighbours that together last at most `max_seconds`; a longer file goes alone."""
    batch: list[ManifestRow] = []
    for row in rows:
        if batch and sum(item.seconds for item in batch) + row.seconds > max_seconds:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
