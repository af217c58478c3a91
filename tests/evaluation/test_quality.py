"""`snac-exp evaluate quality=… asr=…`: columns, the recording beside the outputs, differences, refusals."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from snac_exp import cli
from snac_exp.data.demo.speech import synthesize_utterance, voices
from snac_exp.data.prepared.prepare import prepare
from snac_exp.errors import ConfigError

FREE = {"dnsmos_overall", "dnsmos_signal", "dnsmos_background", "dnsmos_p808", "plcmos"}


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of synthetic speech: two of 1.5 s, one of 0.5 s, in validation."""
    folder = tmp_path_factory.mktemp("speech")
    for voice in voices(2, 0, 0):
        (folder / "audio" / voice.name).mkdir(parents=True)
        seconds = (1.5, 0.5) if voice.name == "voice00" else (1.5,)
        for index, length in enumerate(seconds):
            audio = synthesize_utterance(voice, index, length)
            soundfile.write(folder / "audio" / voice.name / f"utt{index}.flac", audio, 48_000)
    (folder / "audio" / "train").mkdir()
    soundfile.write(folder / "audio" / "train" / "a.flac", synthesize_utterance(voices(3, 0, 0)[2], 0, 0.5), 48_000)
    prepare(folder / "audio", folder / "prepared", validation_speakers=["voice*"], num_workers=1)
    return folder / "prepared"


def evaluate(output: Path, data: Path, *arguments: str) -> dict[str, Any]:
    assert cli.run(["evaluate", f"data={data}", f"output={output}", "codec=demo", "baselines=[]", *arguments]) == 0
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in ("speechmos", "resemblyzer", "parselmouth")),
    reason="needs the extra [quality]: pip install -e '.[quality]'",
)
def test_every_output_and_the_recording_are_heard_and_compared(speech: Path, tmp_path: Path) -> None:
    found = evaluate(tmp_path / "all", speech, "quality=all", "rates=[24000]")
    assert set(found["outputs"]["reference"]["measures"]) == FREE
    measures = found["outputs"]["24k"]["measures"]
    assert FREE | {"speaker_similarity", "f0_rmse_cents", "log_f0_correlation", "voicing_error"} < set(measures)
    assert {measures[name]["num"] for name in FREE} == {2}
    rows = {(row["output"], row["path"]): row for row in pq.read_table(tmp_path / "all/files.parquet").to_pylist()}
    first = "voice00/utt0.flac"
    assert rows["reference", first]["l1"] is None
    change = found["against"]["24k - reference"]
    assert set(change) == FREE
    differences = [
        rows["24k", f"{voice}/utt0.flac"]["plcmos"] - rows["reference", f"{voice}/utt0.flac"]["plcmos"]
        for voice in ("voice00", "voice01")
    ]
    assert change["plcmos"]["mean"] == pytest.approx(np.mean(differences))
    assert "PLCMOS of reference is undefined, so left out, in 1 of 3 utterances" in found["notes"]
    assert any("word and character error rates are absent" in note for note in found["notes"])
    job = json.loads((tmp_path / "all/job.json").read_text())
    assert {"speechmos", "onnxruntime", "resemblyzer", "praat-parselmouth"} <= set(job["versions"])
    evaluate(tmp_path / "pitch", speech, "quality=[f0]", "rates=[24000]", f"compare={tmp_path / 'all'}")
    compared = json.loads((tmp_path / "pitch/comparison.json").read_text())
    assert compared["outputs"]["24k"]["f0_rmse_cents"]["mean"] == 0
    assert list(compared["outputs"]) == ["24k"]
    assert any(note.startswith("other quality: ['dnsmos'") for note in compared["notes"])


@pytest.mark.slow
def test_a_missing_package_is_one_error_with_the_mend(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "speechmos" else find(name))
    with pytest.raises(ConfigError, match=r"speechmos is not installed: pip install 'snac_exp\[quality\]'"):
        evaluate(tmp_path / "out", speech, "quality=[dnsmos]")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argument", "reason"),
    [("quality=[dnsmoss]", "some of dnsmos, plcmos, speaker, f0"), ("asr=nowhere", "no folder of a recogniser")],
)
@pytest.mark.slow
def test_what_is_not_there_is_refused(speech: Path, tmp_path: Path, argument: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        evaluate(tmp_path / "out", speech, argument)
    assert not (tmp_path / "out").exists()


def save_recogniser(folder: Path) -> None:
    """A tiny CTC model with random weights, and its processor."""
    transformers = pytest.importorskip("transformers", reason="needs the extra [asr]: pip install -e '.[asr]'")
    folder.mkdir()
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghij"]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    features = transformers.Wav2Vec2FeatureExtractor(sampling_rate=16_000)
    transformers.Wav2Vec2Processor(feature_extractor=features, tokenizer=tokenizer).save_pretrained(folder)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(20, 16), conv_kernel=(40, 16), num_feat_extract_layers=2,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)


@pytest.mark.slow
def test_words_are_counted_against_the_text_of_the_rows(speech: Path, tmp_path: Path) -> None:
    save_recogniser(tmp_path / "asr")
    with pytest.raises(ConfigError, match="no utterance has a text"):
        evaluate(tmp_path / "none", speech, f"asr={tmp_path / 'asr'}")
    rows = [
        {
            "audio_filepath": str(it),
            "duration": soundfile.info(it).duration,
            "speaker": it.parent.name,
            "text": "a bad cab" if "voice00" in str(it) else "",
        }
        for it in sorted((speech.parent / "audio").rglob("*.flac"))
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(tmp_path / "list.jsonl", tmp_path / "texts", validation_speakers=["voice*"], num_workers=1)
    found = evaluate(tmp_path / "out", tmp_path / "texts", f"asr={tmp_path / 'asr'}", "rates=[24000]")
    assert found["outputs"]["24k"]["measures"]["wer"]["num"] == 2
    assert found["outputs"]["reference"]["measures"]["cer"]["mean"] > 0
    assert "word error rate of 24k is undefined, so left out, in 1 of 3 utterances" in found["notes"]
    assert set(found["against"]["24k - reference"]) == {"wer", "cer"}
