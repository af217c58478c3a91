"""`reconstruct` and `encode` take the rows of a prepared folder, wherever their audio lies."""

from pathlib import Path

import pytest
import soundfile

from tests.data.sources.kinds import Utterance, segments, tars, utterances_of
from tests.helpers.commands import verb
from tests.release.conftest import speech_like

pytestmark = pytest.mark.slow


@pytest.fixture
def rows(tmp_path: Path) -> list[Utterance]:
    for number in range(2):
        file = tmp_path / "audio" / f"voice{number}" / f"utt{number}.wav"
        file.parent.mkdir(parents=True)
        soundfile.write(file, speech_like(12_000 + number, number), 24_000, "PCM_16")
    return utterances_of(tmp_path / "audio")


def wavs(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*_24k.wav"))]


def test_rows_of_shards_and_segments_sound_like_their_files(
    rows: list[Utterance], checkpoint: Path, tmp_path: Path
) -> None:
    options = [f"checkpoint={checkpoint}", "rates=[24000]"]
    verb("reconstruct", f"input={tmp_path / 'audio'}", f"output={tmp_path / 'own'}", *options).succeeded()
    for make in (tars, segments):
        source = tmp_path / make.__name__
        source.mkdir()
        prepared, output = tmp_path / f"{make.__name__} prepared", tmp_path / f"{make.__name__} out"
        verb("prepare", f"input={make(source, rows)}", f"output={prepared}", "split=file").succeeded()
        verb("reconstruct", f"input={prepared}", f"output={output}", *options).succeeded()
        assert wavs(output) == wavs(tmp_path / "own")
        assert len(wavs(output)) == 2
    again = verb("reconstruct", f"input={prepared}", f"output={output}", *options).succeeded()
    assert "2 " in again.out
    (tmp_path / "segments" / "voice0.flac").unlink()
    gone = verb("reconstruct", f"input={prepared}", f"output={tmp_path / 'gone'}", *options)
    assert gone.status != 0
    assert "1 of 2 files could not be done" in gone.err
    assert "voice0.flac: no such file" in gone.err
