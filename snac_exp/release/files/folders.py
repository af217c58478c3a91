"""Folders of files through the codec: reconstruct, encode, decode; restartable, with progress, nothing dropped."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.data.files.reading import audio_info
from snac_exp.data.files.recording import Recording
from snac_exp.data.files.scan import find_audio
from snac_exp.data.prepared.manifest import MANIFEST_NAME, Manifest
from snac_exp.errors import DataError
from snac_exp.release.code_files import parquet_writer, read_npz, read_parquet, write_npz
from snac_exp.release.codec import DEFAULT_CHUNK_SECONDS, ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.files.audio import (
    Advance,
    AudioSource,
    decode_to_files,
    encode_source,
    first_seconds,
    open_source,
    stems,
)
from snac_exp.release.files.job import Job, stamp_of
from snac_exp.release.outputs import labels_of
from snac_exp.system.progress import progress_display
from snac_exp.tracking.panels import spectrogram_panel

PICTURE_SECONDS = 30.0
"""A picture shows the beginning of a long file."""


@dataclass(frozen=True)
class Settings:
    """How files are decoded: names of the heads, seed of the noise or no noise, a picture per file, chunk length."""

    heads: tuple[str, ...]
    seed: int = 0
    noise: bool = True
    picture: bool = False
    chunk_seconds: float = DEFAULT_CHUNK_SECONDS


@dataclass
class Summary:
    """What a job did: files done now, done before, failed (name -> reason), and samples clipped."""

    num_done: int = 0
    num_before: int = 0
    num_clipped: int = 0
    failed: dict[str, str] | None = None

    def lines(self, what: str, output: Path) -> list[str]:
        """For the terminal."""
        lines = [f"{self.num_done} files {what} in {output}"]
        if self.num_before:
            lines.append(f"{self.num_before} were done before")
        if self.num_clipped:
            lines.append(f"{self.num_clipped} samples beyond full scale were clipped")
        return lines

    def refuse_failures(self) -> None:
        """DataError that names what could not be done, after everything else was."""
        if self.failed:
            reasons = "\n".join(f"  {reason}" for reason in list(self.failed.values())[:10])
            num_seen = len(self.failed) + self.num_done + self.num_before
            raise DataError(f"{len(self.failed)} of {num_seen} files could not be done:\n{reasons}")


def reconstruct(codec: ReleasedCodec, source: Path, output: Path, settings: Settings, checkpoint: str) -> Summary:
    """Encode and decode a file or all audio files below a folder into `output`: NAME_24k.wav, NAME_48k.wav, NAME.png.

    Raises:
        ConfigError: `output` holds something else; DataError: there is no audio.
    """
    files, names = _audio_files(source, output)
    inputs = {
        "verb": "reconstruct",
        "input": str(source.resolve()),
        "checkpoint": checkpoint,
        **_plain(codec, settings),
    }
    job, labels = Job(output, inputs), labels_of(codec.heads)

    def work(name: str, advance: Advance, summary: Summary) -> list[str]:
        outputs = {head: f"{names[name]}_{labels[head]}.wav" for head in settings.heads}
        paths = {head: job.output(item) for head, item in outputs.items()}
        with open_source(files[name]) as audio:
            # Without `advance`: progress is told while decoding, and each second must count once.
            codes = encode_source(codec, audio, chunk_seconds=settings.chunk_seconds)
            summary.num_clipped += _decode(codec, codes, paths, settings, advance)
            made = list(outputs.values())
            if settings.picture:
                made.append(f"{names[name]}.png")
                _draw(job.output(made[-1]), name, audio, {labels[head]: path for head, path in paths.items()})
        return made

    return _run(job, "reconstructing", files, work)


def encode_folder(codec: ReleasedCodec, source: Path, output: Path, checkpoint: str, chunk_seconds: float) -> Summary:
    """Encode all audio files below a folder into NAME.npz each."""
    files, names = _audio_files(source, output)
    job = Job(output, {"verb": "encode", "input": str(source.resolve()), "checkpoint": checkpoint})

    def work(name: str, advance: Advance, summary: Summary) -> list[str]:
        with open_source(files[name]) as audio:
            codes = encode_source(codec, audio, chunk_seconds=chunk_seconds, advance=advance)
        write_npz(job.output(f"{names[name]}.npz"), codes)
        return [f"{names[name]}.npz"]

    return _run(job, "encoding", files, work)


def encode_to_parquet(codec: ReleasedCodec, source: Path, output: Path, chunk_seconds: float) -> Summary:
    """Encode a file or all audio files below a folder into one Parquet file, a row each."""
    files, _ = _audio_files(source, output)
    summary = Summary(failed={})
    with (
        _progress("encoding", files) as advance,
        parquet_writer(output, codec.geometry.num_codebooks, codec.codebooks) as rows,
    ):
        for name, path in files.items():
            try:
                with open_source(path) as audio:
                    rows.append(name, encode_source(codec, audio, chunk_seconds=chunk_seconds, advance=advance))
                summary.num_done += 1
            # The next file goes on; the command still ends with an error that names this one.
            except DataError as error:
                summary.failed = (summary.failed or {}) | {name: str(error)}
    return summary


def decode_folder(codec: ReleasedCodec, source: Path, output: Path, settings: Settings, checkpoint: str) -> Summary:
    """Decode all .npz files below a folder, or all rows of a Parquet file, into NAME_48k.wav and so on."""
    inputs = {"verb": "decode", "input": str(source.resolve()), "checkpoint": checkpoint, **_plain(codec, settings)}
    rows = _npz_rows(source) if source.is_dir() else _parquet_rows(source)
    # A pass over the names alone, so that a clash is found before anything is written.
    names = stems([name for name, _, _ in rows()])
    if not names:
        raise DataError(f"{source} holds no codes: give a folder with .npz files or a Parquet file of snac-exp encode")
    job, summary, labels = Job(output, inputs), Summary(failed={}), labels_of(codec.heads)
    with job.at_work(), progress_display("decoding", len(names)) as show:
        for name, stamp, load in rows():
            outputs = {head: f"{names[name]}_{labels[head]}.wav" for head in settings.heads}
            if job.is_done(name, stamp):
                summary.num_before += 1
            else:
                try:
                    paths = {head: job.output(item) for head, item in outputs.items()}
                    summary.num_clipped += _decode(codec, load(), paths, settings, lambda seconds: None)
                    job.record(name, stamp, list(outputs.values()))
                    summary.num_done += 1
                except DataError as error:
                    summary.failed = (summary.failed or {}) | {name: str(error)}
            show(1, name)
    return summary


# (name, progress, summary) -> names of the outputs that were written.
Work = Callable[[str, Advance, Summary], list[str]]
# Called anew for each pass; codes are loaded only when their turn comes: (name, stamp, load).
Rows = Callable[[], Iterator[tuple[str, str, Callable[[], Codes]]]]


def _run(job: Job, description: str, files: Mapping[str, Path | Recording], work: Work) -> Summary:
    """Do what is not done yet; a file that fails is told of at the end and tried again the next time."""
    summary = Summary(failed={})
    with ExitStack() as stack:
        stack.enter_context(job.at_work())
        # Under the lock, since the ledger is read anew there.
        waiting = {name: path for name, path in files.items() if not job.is_done(name, stamp_of(path))}
        summary.num_before = len(files) - len(waiting)
        advance = stack.enter_context(_progress(description, waiting))
        for name, path in waiting.items():
            # Before it is read: a file that changes meanwhile is done once more the next time.
            stamp = stamp_of(path)
            try:
                # Recorded when all outputs are there: killed in between, the file is done again, never skipped.
                job.record(name, stamp, work(name, advance, summary))
                summary.num_done += 1
            except DataError as error:
                summary.failed = (summary.failed or {}) | {name: str(error)}
    return summary


@contextmanager
def _progress(description: str, files: Mapping[str, Path | Recording]) -> Iterator[Advance]:
    """Advance in seconds of audio, shown in whole seconds of the total."""
    total = sum(_seconds(path) for path in files.values())
    with progress_display(f"{description} (s of audio)", round(total)) as show:
        done = 0.0

        def advance(seconds: float) -> None:
            nonlocal done
            # Rounded totals, not rounded steps: many short chunks would add up to another number.
            before, done = round(done), min(done + seconds, total)
            show(round(done) - before, "")

        yield advance


def _seconds(path: Path | Recording) -> float:
    try:
        return audio_info(path).seconds
    except DataError:  # told of when the file's turn comes
        return 0.0


def _audio_files(source: Path, output: Path) -> tuple[dict[str, Path | Recording], dict[str, str]]:
    """Name -> file, or recording of a prepared folder, and name -> name of its outputs without ending."""
    files: dict[str, Path | Recording]
    if (source / MANIFEST_NAME).is_file():
        manifest = Manifest.with_audio(source)
        files = {row.path: manifest.recording(row) for row in manifest.rows}
    elif source.is_dir():
        files = {name: source / name for name in find_audio(source, output)}
    elif source.is_file():
        files = {source.name: source}
    else:
        raise DataError(f"there is no {source}")
    if not files:
        raise DataError(f"{source} holds no audio files")
    return files, stems(list(files))


def _decode(codec: ReleasedCodec, codes: Codes, paths: Mapping[str, Path], settings: Settings, advance: Advance) -> int:
    return decode_to_files(
        codec,
        codes,
        paths,
        seed=settings.seed,
        noise=settings.noise,
        chunk_seconds=settings.chunk_seconds,
        advance=advance,
    )


def _draw(path: Path, title: str, source: AudioSource, outputs: Mapping[str, Path]) -> None:
    """Spectrograms of the input and of every output (label -> file), the first half minute of each."""
    signals = {"input": first_seconds(source.path, PICTURE_SECONDS)}
    signals |= {label: first_seconds(output, PICTURE_SECONDS) for label, output in outputs.items()}
    # matplotlib takes text between dollar signs for a formula.
    spectrogram_panel(path, signals, title.replace("$", r"\$"))


def _npz_rows(folder: Path) -> Rows:
    def rows() -> Iterator[tuple[str, str, Callable[[], Codes]]]:
        # The default binds the path of this turn; a plain closure would see the last one.
        for path in sorted(folder.rglob("*.npz")):
            yield path.relative_to(folder).as_posix(), stamp_of(path), lambda path=path: read_npz(path)  # type: ignore[misc]

    return rows


def _parquet_rows(path: Path) -> Rows:
    def rows() -> Iterator[tuple[str, str, Callable[[], Codes]]]:
        stamp = stamp_of(path) if path.is_file() else ""
        for name, codes in read_parquet(path):
            yield name, stamp, lambda codes=codes: codes  # type: ignore[misc]

    return rows


def _plain(codec: ReleasedCodec, settings: Settings) -> dict[str, Any]:
    """What decides the samples; the chunk length does not. Heads are named where their rates do not tell them."""
    rates = [codec.heads[head] for head in settings.heads]
    labels = labels_of(codec.heads)
    named = [head for head in settings.heads if labels[head] == head]
    return {
        "rates": rates,
        **({"heads": named} if named else {}),
        "seed": settings.seed,
        "noise": settings.noise,
        "picture": settings.picture,
    }
