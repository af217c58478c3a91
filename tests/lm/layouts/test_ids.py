"""Codes to ids to text and back, for every layout, codec and length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snac_exp.errors import DataError
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.sequence import training_ids
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.lm.layouts.text import OTHER_TEXT, ids_of_text, text_of_ids
from tests.lm.layouts.made import NAMES, STRIDES, codes_of, layouts_and_codes, made, plain, same


@given(layouts_and_codes(), st.sampled_from(["strict", "resync"]))
def test_codes_come_back_from_ids_and_from_text(content: tuple[Layout, list[np.ndarray]], mode: str) -> None:
    layout, codes = content
    streams = ids_of_codes(codes, layout)
    written = [ids_of_text(text_of_ids(row, layout), layout) for row in streams]
    assert same(written, streams)
    reading = read_ids(written, layout, mode)  # type: ignore[arg-type]
    assert same(reading.codes, codes)
    assert reading.gaps == ()
    assert reading.num_frames == len(codes[0])
    assert reading.seconds == reading.source_seconds == len(codes[0]) * 512 * layout.geometry.vq_strides[0] / 24000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strides", STRIDES)
def test_the_first_and_the_last_code_at_every_place(name: str, strides: tuple[int, ...]) -> None:
    layout = plain(name, strides, 4096)
    for codebook in range(len(strides)):
        per_frame = layout.geometry.codebook_length(codebook, 1)
        for token in range(per_frame):
            for code in (0, 4095):
                codes = [np.full(layout.geometry.codebook_length(i, 1), 2000) for i in range(len(strides))]
                codes[codebook][token] = code
                assert same(read_ids(ids_of_codes(codes, layout), layout).codes, codes)


def test_all_codes_at_every_place_have_ids_of_their_own() -> None:
    layout = made("orpheus")
    codes = [np.arange(4096), np.repeat(np.arange(4096), 2), np.repeat(np.arange(4096), 4)]
    ids = ids_of_codes(codes, layout)[0]
    assert np.array_equal(np.sort(ids), np.arange(128266, layout.num_ids))
    assert same(read_ids([ids], layout).codes, codes)


def test_the_text_of_ids_has_the_published_numbers() -> None:
    layout = made("orpheus")
    assert text_of_ids([128257, 128266, 128266 + 6 * 4096 + 4095], layout) == (
        "<custom_token_1><custom_token_10><custom_token_28681>"
    )
    text = "Say: <custom_token_1>\n <custom_token_10><custom_token_>x<custom_token_07><custom_token_99999999999>"
    assert ids_of_text(text, layout).tolist() == [OTHER_TEXT, 128257, 128266, OTHER_TEXT]
    assert ids_of_text("", layout).tolist() == []
    with pytest.raises(DataError, match="position 1: id 9 is text for layout orpheus"):
        text_of_ids([128257, 9], layout)


@given(layouts_and_codes(), st.lists(st.integers(0, 128_008), max_size=4))
def test_a_training_sequence_gives_text_and_codes_back(
    content: tuple[Layout, list[np.ndarray]], text: list[int]
) -> None:
    layout, codes = content
    if layout.specials is None or layout.end_of_text in text:
        return
    reading = read_ids([training_ids(text, ids_of_codes(codes, layout)[0], layout)], layout)
    assert same(reading.codes, codes)
    assert (reading.text_ids, reading.ended) == (tuple(text), True)


def test_codes_that_are_none_of_the_codec_are_refused() -> None:
    layout = made("orpheus", entries=1024, codec="demo")
    codes = codes_of(layout, 2, 0)
    codes[1][3] = 1024
    with pytest.raises(DataError, match="codebook 1, position 3: code 1024 is none of codec demo, which has 0 to 1023"):
        ids_of_codes(codes, layout)
    codes[1][3] = -1
    with pytest.raises(DataError, match="code -1 is none"):
        ids_of_codes(codes, layout)
    with pytest.raises(DataError, match="codebook 1 has 3 codes where codebook 0 asks for 4"):
        ids_of_codes([codes[0], codes[1][:3], codes[2]], layout)
    with pytest.raises(DataError, match="codes of 2 codebooks are not of codec demo, which has 3"):
        ids_of_codes(codes[:2], layout)
    with pytest.raises(DataError, match="must be whole numbers"):
        ids_of_codes([codes[0] * 1.5, codes[0], codes[0]], layout)
