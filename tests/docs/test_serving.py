"""The Python of docs/speech_llm.md that feeds the service, on a real one; a stand-in plays the model's part."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from snac_exp.codec.checkpoint import bundled_directory
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.sequence import prompt_ids
from snac_exp.lm.layouts.text import text_of_ids
from snac_exp.release.loading import load_codec
from tests.docs.pages import blocks, sections, text_of
from tests.helpers.service import assert_sounds, codes_of, expected, served


class Model:
    """Calls its streamer as transformers' `generate` does: with the prompt (1, T), then with each token (1,)."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids

    def generate(self, input_ids: torch.Tensor, streamer: Any) -> None:
        streamer.put(input_ids)
        for value in self.ids:
            streamer.put(torch.tensor([value]))
        streamer.end()


@pytest.mark.slow
def test_the_loops_of_the_page_play_every_sample() -> None:
    pytest.importorskip("transformers")
    codec = load_codec(bundled_directory("demo_codec"))
    scope: dict[str, Any] = {}
    with served(codec, entries=codec.codebook_sizes[0]) as service:
        layout, codes = service.service.layout, codes_of(codec, 6, 1)
        assert layout.specials is not None
        spoken = ids_of_codes(codes, layout)[0].tolist()
        address = f"ws://127.0.0.1:{service.port}/stream"
        for code in blocks(sections(text_of("speech_llm"))["Serving"], "python"):
            exec(code, scope)
        model = Model([*spoken, layout.specials.end_of_speech, layout.specials.end_of_ai])
        prompt = {"input_ids": torch.from_numpy(prompt_ids([5, 6, 7], layout))[None]}
        played: list[bytes] = []
        account = scope["speak"](model, prompt, played.append, address)
        assert (account["frames"], account["dropped_ids"]) == (6, 0)
        assert_sounds(b"".join(played), expected(codec, codes, 24_000, 0))

        def texts() -> Iterator[str]:
            text = text_of_ids(spoken, layout)
            yield from (text[start : start + 7] for start in range(0, len(text), 7))

        assert_sounds(b"".join(scope["tokens_decoder"](texts(), address)), expected(codec, codes, 24_000, 0))
        assert json.loads(service.ask("GET", "/health").body)["status"] == "ok"
