"""Layouts of conf/layout/: the published numbers, and what fits no codec."""

import re

import numpy as np
import pytest

from snac_exp.errors import CodecError, ConfigError, DataError
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.sequence import prompt_ids, training_ids
from snac_exp.lm.layouts.streams import read_ids
from tests.lm.layouts.made import codes_of, made

FAULTY_SEVENTH = [0, 4096, 8192, 12288, 16384, 20480, 24592]  # of an exporter that others use


def test_orpheus_has_the_published_ids() -> None:
    layout = made("orpheus")
    assert [place.first for place in layout.places] == [128266 + 4096 * place for place in range(7)]
    assert [place.codebook for place in layout.places] == [0, 1, 2, 2, 1, 2, 2]
    assert [place.index for place in layout.places] == [0, 0, 0, 1, 1, 2, 3]
    assert layout.specials is not None
    assert list(vars(layout.specials).values()) == [128257, 128258, 128259, 128260, 128261, 128262, 128263]
    assert (layout.end_of_text, layout.num_ids) == (128009, 128266 + 7 * 4096)


def test_another_vocabulary_keeps_the_distances() -> None:
    llama, gemma = made("orpheus"), made("orpheus_gemma")
    further = 256_000 - 128_256
    assert [place.first - further for place in gemma.places] == [place.first for place in llama.places]
    assert llama.specials is not None
    assert gemma.specials is not None
    assert {name: i - further for name, i in vars(gemma.specials).items()} == vars(llama.specials)


def test_a_frame_of_codes_is_in_order_of_time() -> None:
    codes = [np.array([1, 8]), np.array([2, 5, 9, 12]), np.array([3, 4, 6, 7, 10, 11, 13, 14])]
    ids = ids_of_codes(codes, made("orpheus"))[0] - 128266
    assert (ids - 4096 * (np.arange(14) % 7)).tolist() == list(range(1, 15))
    assert ids_of_codes(codes, made("flat", entries=32))[0][:7].tolist() == [1, 34, 67, 100, 133, 166, 199]
    assert [row.tolist() for row in ids_of_codes(codes, made("codebooks"))] == [row.tolist() for row in codes]
    delayed = ids_of_codes(codes, made("delay"))
    assert [row.tolist() for row in delayed[:2]] == [[1, 8, *[4096] * 6], [4096, 2, 9, *[4096] * 5]]
    assert delayed[6].tolist() == [*[4096] * 6, 7, 14]


def test_the_demo_codec_keeps_orpheus_distances_and_flat_takes_its_own() -> None:
    assert [place.first for place in made("orpheus", entries=1024).places][:3] == [128266, 132362, 136458]
    assert [place.first for place in made("flat", entries=1024).places][:3] == [0, 1024, 2048]
    assert made("flat", (8, 4, 2, 1), 1024).num_places == 15


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"places": [0, 1, 2, 2, 1, 2, 2]}, "strides [8, 4, 2, 1] make [0, 1, 2, 3, 3, 2, 3, 3, 1, 2, 3, 3, 2, 3, 3]"),
        ({"codebook_size": 1024}, "whose codebooks have 4096 entries"),
        ({"offsets": [0, 4096]}, "whose coarse frame has 15 tokens"),
    ],
)
def test_a_layout_that_does_not_fit_the_codec_is_refused_with_both_named(changes: dict[str, object], why: str) -> None:
    with pytest.raises(CodecError, match=re.escape(why)) as caught:
        made("orpheus", (8, 4, 2, 1), codec="snac_44khz", **changes)
    assert "layout orpheus " in str(caught.value)
    assert "does not fit codec snac_44khz" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("orpheus", {"base": 7}, "id 128263 would be of specials.pad and of place 0"),
        ("orpheus", {"base": -1}, "id 128255 would be of vocabulary and of place 0"),
        ("flat", {"offsets": [0, 1, 2, 3, 4, 5, 6]}, "id 1 would be of place 0 and of place 1"),
        ("flat", {"base": -5}, "ids must lie between 0"),
        ("codebooks", {"offsets": [0] * 7}, "holds plain codes; set it to null"),
        ("delay", {"fill": 4095}, "layout.fill=4095 is a code of place 0"),
    ],
)
def test_no_id_has_two_meanings(name: str, changes: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)):
        made(name, **changes)


def test_a_wrong_seventh_offset_is_seen_where_it_can_be_and_can_be_read_as_what_it_is() -> None:
    """S17: every seventh token of such files decodes to another code."""
    right, wrong = made("orpheus"), made("orpheus", offsets=FAULTY_SEVENTH)
    assert [place.first for place in right.places][6] == 128266 + 24576
    codes = codes_of(right, 3, 0)
    codes[2][3::4] = [0, 7, 4079]
    ids = ids_of_codes(codes, wrong)[0]
    # Its codes are read 16 too high, which no reader can see …
    misread = read_ids([ids], right).codes
    assert (misread[2] - codes[2]).tolist() == [0, 0, 0, 16] * 3
    # … until one is too high; or, where codebooks are smaller than the distance of places, until any is.
    codes[2][7] = 4080
    with pytest.raises(DataError, match=f"position 13: id {128266 + 24592 + 4080}, none of this layout's"):
        read_ids([ids_of_codes(codes, wrong)[0]], right)
    assert np.array_equal(read_ids([ids_of_codes(codes, wrong)[0]], wrong).codes[2], codes[2])


def test_a_training_sequence_is_text_and_speech_with_their_specials() -> None:
    layout = made("orpheus")
    speech = ids_of_codes(codes_of(layout, 2, 1), layout)[0]
    found = training_ids([11, 12], speech, layout).tolist()
    prompt = [128259, 11, 12, 128009, 128260, 128261, 128257]
    assert found == [*prompt, *speech.tolist(), 128258, 128262]
    assert prompt_ids([11, 12], layout).tolist() == prompt
    with pytest.raises(ConfigError, match="layout flat has no specials"):
        prompt_ids([11], made("flat"))
