"""The verbs as users give them: files, folders, pipes, restarts, and what they refuse."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp import cli
from snac_exp.data.files.reading import read_mono
from snac_exp.errors import CodecError, ConfigError, DataError
from snac_exp.release.codec import ReleasedCodec
from tests.helpers.killed import killed_at
from tests.helpers.variants import thorough
from tests.helpers.waiting import GUARD_SECONDS
from tests.helpers.warm import COLD
from tests.release.conftest import speech_like

ODD = "it's, a = \u0635\u0648\u062a"


def wav(path: Path) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(path, dtype="int16")
    return samples, rate


def as_pcm(audio: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(audio, -1, 1) * 32767).astype(np.int16)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_reconstruct_folder_and_restart(
    audio_dir: Path, checkpoint: Path, codec: ReleasedCodec, tmp_path: Path
) -> None:
    output = tmp_path / "out, 'put'"
    command = ["reconstruct", f"input={audio_dir}", f"output={output}", f"checkpoint={checkpoint}", "picture=true"]
    assert cli.run(command) == 0
    for name, num, rate in (("one", 40_000, 24_000), ("two", 70_001, 44_100), (f"{ODD}/three", 30_011, 48_000)):
        for target in (24_000, 48_000):
            samples, found = wav(output / f"{name}_{target // 1000}k.wav")
            assert (found, len(samples)) == (target, -(-num * target // rate))
        assert (output / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    audio = read_mono(audio_dir / "two.flac", 24_000)
    expected = codec.decode(codec.encode(audio, 24_000, chunk_seconds=None), 48_000, seed=0, chunk_seconds=None)[0, 0]
    samples, _ = wav(output / "two_48k.wav")
    assert np.abs(samples - as_pcm(expected.numpy())[: len(samples)]).max() <= 1  # of 16 bits: file = whole in memory

    before = contents(output)
    (output / "one_24k.wav").unlink()
    lines = (output / "files.jsonl").read_text().splitlines()
    (output / "files.jsonl").write_text("\n".join([lines[0], lines[1][:20]]))  # killed while writing the second line
    stamps = {path: path.stat().st_mtime_ns for path in output.rglob("*_48k.wav")}
    assert cli.run(command) == 0
    after = contents(output)
    assert {k: v for k, v in after.items() if k != "files.jsonl"} == {
        k: v for k, v in before.items() if k != "files.jsonl"
    }
    unchanged = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp]
    assert len(unchanged) >= 1 or json.loads(lines[0])["name"] == "one.wav"


@pytest.mark.slow
@pytest.mark.parametrize("verb", [*thorough("reconstruct"), "decode"])
def test_a_job_that_is_killed_goes_on_and_leaves_nothing_half_done(verb: str, checkpoint: Path, tmp_path: Path) -> None:
    """Killed within the third file: the first two stay as they are, and all is as if it had never been stopped."""
    source = tmp_path / "in"
    source.mkdir()
    for index in range(4):
        soundfile.write(source / f"{index}.wav", speech_like(48_000, index), 24_000)
    if verb == "decode":
        assert cli.run(["encode", f"input={source}", f"output={tmp_path / 'codes'}", f"checkpoint={checkpoint}"]) == 0
        source = tmp_path / "codes"
    command, output = [verb, f"input={source}", f"checkpoint={checkpoint}"], tmp_path / "out"
    assert cli.run([*command, f"output={tmp_path / 'whole'}"]) == 0
    killed_at("os.rename", f"{output}/2_*.wav", [*command, f"output={output}"])
    done = {path: path.stat().st_mtime_ns for path in output.glob("*.wav")}
    assert sorted(path.name for path in done) == ["0_24k.wav", "0_48k.wav", "1_24k.wav", "1_48k.wav"]
    assert list(output.glob(".*.tmp"))
    assert cli.run([*command, f"output={output}"]) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    waves = {name: data for name, data in contents(output).items() if name.startswith(("0", "1", "2", "3"))}
    assert len(waves) == 8
    assert waves == {name: data for name, data in contents(tmp_path / "whole").items() if name in waves}
    assert not list(output.glob(".*.tmp"))


@pytest.mark.slow
def test_encoding_to_parquet_that_is_killed_leaves_no_file(checkpoint: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out" / "codes.parquet"
    source.mkdir()
    for index in range(3):
        soundfile.write(source / f"{index}.wav", speech_like(48_000, index), 24_000)
    command = ["encode", f"input={source}", f"checkpoint={checkpoint}"]
    assert cli.run([*command, f"output={tmp_path / 'whole.parquet'}"]) == 0
    killed_at("os.rename", str(output), [*command, f"output={output}"])
    assert not output.exists()
    (left,) = output.parent.glob(".*.tmp")
    assert left.stat().st_size > 4
    assert cli.run([*command, f"output={output}"]) == 0
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert list(output.parent.iterdir()) == [output]  # what the killed one left is gone


@pytest.mark.slow
def test_outputs_of_others_are_refused(audio_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    command = ["reconstruct", f"input={audio_dir / 'one.wav'}", f"output={tmp_path}", f"checkpoint={checkpoint}"]
    with pytest.raises(ConfigError, match="holds something else"):
        cli.run(command)
    output = tmp_path / "job"
    command[2] = f"output={output}"
    assert cli.run(command) == 0
    before = contents(output)
    with pytest.raises(ConfigError, match=r"another job \(other seed\)"):
        cli.run([*command, "seed=1"])
    assert contents(output) == before
    assert list(tmp_path.iterdir()) != []
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.slow
def test_encode_then_decode_files(audio_dir: Path, checkpoint: Path, codec: ReleasedCodec, tmp_path: Path) -> None:
    npz, out = tmp_path / "two.npz", tmp_path / "two.wav"
    assert cli.run(["encode", f"input={audio_dir / 'two.flac'}", f"output={npz}", f"checkpoint={checkpoint}"]) == 0
    with np.load(npz, allow_pickle=False) as archive:
        assert (int(archive["num_samples"]), int(archive["sample_rate"])) == (70_001, 44_100)
        assert archive["codes_2"].dtype == np.uint16
    assert cli.run(["decode", f"input={npz}", f"output={out}", f"checkpoint={checkpoint}", "seed=4"]) == 0
    samples, rate = wav(out)
    assert (rate, len(samples)) == (48_000, -(-70_001 * 48_000 // 44_100))
    with pytest.raises(ConfigError, match="not overwritten"):
        cli.run(["decode", f"input={npz}", f"output={out}", f"checkpoint={checkpoint}"])
    with pytest.raises(ConfigError, match="not overwritten"):
        cli.run(["encode", f"input={audio_dir / 'one.wav'}", f"output={npz}", f"checkpoint={checkpoint}"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "codes.parquet"])
def test_encode_then_decode_a_folder(audio_dir: Path, checkpoint: Path, tmp_path: Path, kind: str) -> None:
    codes, direct, decoded = tmp_path / kind, tmp_path / "direct", tmp_path / "decoded"
    assert cli.run(["encode", f"input={audio_dir}", f"output={codes}", f"checkpoint={checkpoint}"]) == 0
    assert cli.run(["decode", f"input={codes}", f"output={decoded}", f"checkpoint={checkpoint}"]) == 0
    assert cli.run(["reconstruct", f"input={audio_dir}", f"output={direct}", f"checkpoint={checkpoint}"]) == 0
    waves = {name: data for name, data in contents(direct).items() if name.endswith(".wav")}
    assert len(waves) == 6
    assert {name: data for name, data in contents(decoded).items() if name.endswith(".wav")} == waves


def pipe(arguments: list[str], data: bytes) -> bytes:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "snac_exp.cli", *arguments], input=data, capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def peak_megabytes(arguments: list[str]) -> float:
    """Most memory that a command holds at once; cold, since a stand-in would be measured in place of a warm process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([COLD, "-m", "snac_exp.cli", *arguments], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.thorough
def test_memory_does_not_grow_with_the_length_of_a_file(checkpoint: Path, tmp_path: Path) -> None:
    """Five minutes against twenty seconds: the samples of the longer one alone would be 86 MB."""
    peaks = []
    for seconds in (20, 300):
        folder = tmp_path / str(seconds)
        folder.mkdir()
        soundfile.write(folder / "long.wav", np.tile(speech_like(24_000 * 20), seconds // 20), 24_000)
        output = tmp_path / f"out{seconds}"
        peaks.append(peak_megabytes(["reconstruct", f"input={folder}", f"output={output}", f"checkpoint={checkpoint}"]))
        assert len(wav(output / "long_48k.wav")[0]) == 48_000 * seconds
    assert peaks[1] - peaks[0] < 40


@pytest.mark.slow
def test_pipes_carry_raw_pcm(checkpoint: Path, codec: ReleasedCodec) -> None:
    audio = as_pcm(speech_like(20_000))
    out = pipe(["reconstruct", "input=-", "output=-", f"checkpoint={checkpoint}", "rates=[48000]"], audio.tobytes())
    codes = codec.encode(audio, 24_000)
    expected = as_pcm(codec.decode(codes, 48_000, seed=0)[0, 0].numpy())
    samples = np.frombuffer(out, "<i2")
    assert len(samples) == 40_000
    assert np.abs(samples.astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "in.s16").write_bytes(as_pcm(np.tile(speech_like(48_000), 10)).tobytes())
    command = (
        f"exec {sys.executable} -m snac_exp.cli reconstruct input=- output=- checkpoint='{checkpoint}' rates=[48000]"
    )
    process = subprocess.Popen(
        f"{command} < '{tmp_path / 'in.s16'}'", shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    assert process.stderr.read().decode() == ""
    assert process.wait(GUARD_SECONDS) == 0


@pytest.mark.slow
def test_encode_and_decode_through_pipes(
    checkpoint: Path, codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipe form in one process: PCM to an .npz, the .npz to PCM."""

    class Standard:
        def __init__(self, data: bytes = b"") -> None:
            self.buffer = io.BytesIO(data)

    audio = as_pcm(speech_like(12_345))
    monkeypatch.setattr(sys, "stdin", Standard(audio.tobytes()))
    monkeypatch.setattr(sys, "stdout", Standard())
    assert cli.run(["encode", "input=-", "output=-", f"checkpoint={checkpoint}"]) == 0
    npz = sys.stdout.buffer.getvalue()
    monkeypatch.setattr(sys, "stdin", Standard(npz))
    monkeypatch.setattr(sys, "stdout", Standard())
    assert cli.run(["decode", "input=-", "output=-", f"checkpoint={checkpoint}", "rates=[24000]"]) == 0
    assert len(sys.stdout.buffer.getvalue()) == 2 * 12_345
    monkeypatch.setattr(sys, "stdin", Standard(audio.tobytes()[:-1]))
    with pytest.raises(DataError, match="within a sample"):
        cli.run(["encode", "input=-", "output=-", f"checkpoint={checkpoint}"])
    monkeypatch.setattr(sys, "stdin", Standard(b""))
    with pytest.raises(DataError, match="no PCM"):
        cli.run(["encode", "input=-", "output=-", f"checkpoint={checkpoint}"])


@pytest.mark.slow
def test_a_broken_file_is_told_and_the_others_are_done(audio_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    data = (audio_dir / "two.flac").read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) // 2])
    (folder / "noise.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEjunk")
    (folder / "good.wav").write_bytes((audio_dir / "one.wav").read_bytes())
    output = tmp_path / "out"
    with pytest.raises(DataError, match=r"2 of \d files could not be done:(.|\n)*cut\.flac"):
        cli.run(["reconstruct", f"input={folder}", f"output={output}", f"checkpoint={checkpoint}"])
    assert sorted(path.name for path in output.glob("*.wav")) == ["good_24k.wav", "good_48k.wav"]
    assert not list(output.glob(".*.tmp"))  # nothing half-written is left


@pytest.mark.slow
def test_files_of_one_stem_do_not_overwrite_each_other(audio_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.wav", speech_like(9_000), 24_000)
    soundfile.write(folder / "A.flac", speech_like(12_000), 24_000)
    output = tmp_path / "out"
    arguments = [f"input={folder}", f"output={output}", f"checkpoint={checkpoint}", "rates=[24000]"]
    assert cli.run(["reconstruct", *arguments]) == 0
    assert {path.name: len(wav(path)[0]) for path in output.glob("*.wav")} == {
        "a_wav_24k.wav": 9_000,
        "A_flac_24k.wav": 12_000,
    }


@pytest.mark.slow
def test_a_rate_the_codec_has_not(audio_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    arguments = [f"input={audio_dir}", f"output={tmp_path / 'out'}", f"checkpoint={checkpoint}", "rates=[44100]"]
    with pytest.raises(CodecError, match="no output at 44100 Hz, only 24000, 48000"):
        cli.run(["reconstruct", *arguments])


def test_codes_of_many_files_go_into_a_folder(tmp_path: Path) -> None:
    for source, output in ((tmp_path / "codes.parquet", tmp_path / "one.wav"), (tmp_path, tmp_path / "one.wav")):
        with pytest.raises(ConfigError, match="may hold codes of many files: give output=FOLDER"):
            cli.run(["decode", f"input={source}", f"output={output}", "checkpoint=demo"])
