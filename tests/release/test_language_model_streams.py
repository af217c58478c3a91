"""A language model's ids become audio without loss; the widely used stream decoder's losses (S23), as examples."""

import numpy as np
import pytest
import torch

from snac_exp import load_codec
from snac_exp.codec.checkpoint import bundled_directory
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.reader import IdReader
from tests.lm.layouts.made import codes_of, made

WINDOW, KEPT = 28, slice(2048, 4096)  # ids of four frames; which of their samples are given


def windows_of_the_reference(ids: list[int]) -> list[list[int]]:
    """What that decoder hands to the codec: numbers above 0 are taken, each by its turn instead of by its place."""
    taken: list[int] = []
    windows = []
    for value in ids:
        number = value - 128266 - len(taken) % 7 * 4096
        if number > 0:
            taken.append(number)
            if len(taken) % 7 == 0 and len(taken) >= WINDOW:
                windows.append(taken[-WINDOW:])
    return [window for window in windows if all(number < 4096 for number in window)]


def seconds_of_the_reference(ids: list[int]) -> float:
    return len(windows_of_the_reference(ids)) * (KEPT.stop - KEPT.start) / 24000


@pytest.mark.slow
def test_ids_that_come_one_by_one_become_all_samples_of_their_codes() -> None:
    layout = made("orpheus", entries=1024, codec="demo")
    codes = codes_of(layout, 8, 5)
    codes[0][3] = codes[1][9] = codes[2][17] = 0
    ids = [128257, *ids_of_codes(codes, layout)[0].tolist(), 128258, 128262]
    codec = load_codec(bundled_directory("demo_codec"))
    expected = codec.decode([torch.from_numpy(row) for row in codes], 24000, seed=0)
    reader, stream = IdReader(layout), codec.stream(24000, seed=0)
    played = [stream.push(reader.push([value])) for value in ids]
    heard = torch.cat([*played, stream.finish()], dim=-1)
    assert reader.finish().ended
    # The first 2048 and the last 4096 samples too, which windows of which the middle is kept never give.
    assert heard.shape == expected.shape == (1, 1, 8 * 2048)
    torch.testing.assert_close(heard, expected, atol=1e-6, rtol=0)
    assert float(heard[..., :2048].abs().sum()) > 0
    assert float(heard[..., -4096:].abs().sum()) > 0


def test_the_reference_loses_the_beginning_and_the_end_of_an_utterance() -> None:
    layout = made("orpheus")
    codes = [np.full(20 * 2**level, 1 + level) for level in range(3)]
    ids = ids_of_codes(codes, layout)[0].tolist()
    assert seconds_of_the_reference(ids) == (20 * 2048 - 2048 - 4096) / 24000
    reader = IdReader(layout)
    assert sum(len(reader.push([value])[0]) for value in ids) == 20
    assert reader.finish().seconds == 20 * 2048 / 24000


@pytest.mark.parametrize("place", range(7))
def test_the_reference_loses_frames_where_a_code_is_0(place: int) -> None:
    layout = made("orpheus")
    codes = [np.full(20 * 2**level, 1 + level) for level in range(3)]
    whole = len(windows_of_the_reference(ids_of_codes(codes, layout)[0].tolist()))
    codebook, index = layout.places[place].codebook, layout.places[place].index
    codes[codebook][10 * len(codes[codebook]) // 20 + index] = 0
    ids = ids_of_codes(codes, layout)[0].tolist()
    # The frame is gone, and so are the windows that hold what was read by the wrong turn.
    assert whole - len(windows_of_the_reference(ids)) == (1 if place == 6 else 5)
    reader = IdReader(layout)
    reader.push(ids)
    reading = reader.finish()
    assert reading.seconds == 20 * 2048 / 24000
    assert all(np.array_equal(one, other) for one, other in zip(reading.codes, codes, strict=True))
