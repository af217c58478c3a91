"""docs/speech_llm.md as a user walks it: an export, two steps of training on it, speech, audio; the model is tiny."""

import json
import shlex
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from safetensors.torch import load_file

import snac_exp.system.torchaudio  # noqa: F401
from snac_exp.codec.checkpoint import bundled_directory
from snac_exp.data.codes.table import CodeTable
from tests.docs.pages import blocks, sections, text_of
from tests.helpers.commands import verb
from tests.helpers.tiny_tokenizer import write_large_tokenizer
from tests.lm.layouts.made import made

DEMO = made("orpheus", entries=1024, codec="demo")
SHORTER = {
    "max_tokens=2048": "max_tokens=250",
    "num_train_epochs=1": "max_steps=2, use_cpu=True, disable_tqdm=True",
    "gradient_accumulation_steps=4": "gradient_accumulation_steps=1",
    "max_new_tokens=1400": "max_new_tokens=35",
    "outputs/phase12_spectral/RUN": str(bundled_directory("demo_codec")),
}


def shortened(code: str) -> str:
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    return code


def write_model(folder: Path) -> None:
    """Llama 3's ids in the smallest model that can be trained on them."""
    from transformers import LlamaConfig, LlamaForCausalLM  # behind torchaudio, as on the page

    write_large_tokenizer(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=DEMO.num_ids, tie_word_embeddings=True, **shape)).save_pretrained(folder)


@pytest.mark.slow
def test_an_export_trains_a_model_whose_speech_our_decoder_takes(corpus_dir: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepared.symlink_to(corpus_dir / "prepared")
    table = CodeTable.open(prepared / "codes_demo")
    lines = [json.dumps({"path": table.path(row), "text": f"Number {row}."}) for row in range(len(table))]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    write_model(tmp_path / "model")
    parts = sections(text_of("speech_llm"))
    (command,) = blocks(parts["Fine-tuning"], "bash")
    (train,) = blocks(parts["Fine-tuning"], "python")
    (speak,) = blocks(parts["From a model to audio, by your own decoder"], "python")
    scope: dict[str, Any] = {}
    with chdir(tmp_path):
        verb(*shlex.split(shortened(command))[1:]).succeeded()
        exec(shortened(train), scope)
        assert scope["trainer"].state.global_step == 2
        before, after = load_file("model/model.safetensors"), load_file("tuned/model.safetensors")
        assert any(not torch.equal(before[name], after[name]) for name in before)
        exec(shortened(speak), scope)
    num_frames = scope["reading"].num_frames
    assert 1 <= num_frames <= 5
    assert scope["audio"].shape == (1, 1, num_frames * 2048)
    assert bool(scope["audio"].isfinite().all())
    assert soundfile.info(tmp_path / "said.wav").frames == num_frames * 2048
