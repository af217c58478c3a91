"""Which frames of an utterance stand in which row, and how long they are, against frames chosen one by one."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from snac_exp.data.rejection import Rejection
from snac_exp.data.tokens.rows.options import ExportOptions
from snac_exp.data.tokens.rows.utterances import Utterances
from tests.helpers.code_tables import table_of
from tests.lm.layouts.made import made

ENTRIES, HOP = 8, 2048
LAYOUT = made("orpheus", entries=ENTRIES)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 1), min_size=1, max_size=9), st.integers(0, HOP - 1), st.booleans(),
    st.one_of(st.none(), st.integers(1, 70)), st.sampled_from(["drop", "split"]),
)  # fmt: skip
@example([1, 0, 0], 100, True, None, "drop")
@example([1, 0, 1], 100, True, 17, "split")
def test_rows_hold_the_frames_that_are_kept_and_their_time(
    coarse: list[int], missing: int, dropping: bool, limit: int | None, too_long: str
) -> None:
    num = len(coarse)
    codes = [np.array(coarse), np.arange(2 * num) % ENTRIES, np.arange(4 * num) % ENTRIES]
    table = table_of([codes], ["train"], ENTRIES, [missing])
    options = ExportOptions(max_tokens=limit, too_long=too_long, drop_repeated_frames=dropping)  # type: ignore[arg-type]
    utterances = Utterances(table, LAYOUT, options, None)
    kept = [i for i in range(num) if not (dropping and i and coarse[i] == coarse[i - 1])]
    true_samples = {i: HOP - (missing if i == num - 1 else 0) for i in range(num)}
    found = utterances.pieces(0)
    fits = limit is None or 4 + 7 * len(kept) <= limit
    most = num if limit is None else (limit - 4) // 7
    if not fits and (too_long == "drop" or most < 1):
        assert isinstance(found, Rejection)
        assert f"{4 + 7 * len(kept)} ids are more than max_tokens={limit}" in found.reason
        return
    assert not isinstance(found, Rejection)
    chunks = [kept] if fits else [kept[i : i + most] for i in range(0, len(kept), most)]
    assert len(found) == len(chunks)
    for part, (piece, frames) in enumerate(zip(found, chunks, strict=True)):
        row = utterances.token_row(piece)
        assert limit is None or len(row.input_ids) <= limit
        assert utterances.num_samples(piece) == sum(true_samples[i] for i in frames)
        assert row.seconds == utterances.num_samples(piece) / 24000
        expected = [codes[book].reshape(num, -1)[frames].reshape(-1) for book in range(3)]
        assert all(map(np.array_equal, utterances.codes(piece), expected))
        assert row.path == ("0.wav" if fits else f"0.part{part:03d}.wav")
