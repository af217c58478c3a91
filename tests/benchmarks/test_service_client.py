"""What a client of the load test makes of the times at which its audio came."""

import pytest

from benchmarks.service_client import heard

RATE = 1000


def test_a_player_with_a_buffer_stops_where_a_piece_comes_too_late() -> None:
    """Begins at 1.3 + 0.2; the third piece is due at 1.7 and comes at 2.0, the fourth, of 2.0, in time."""
    pieces = [(1.3, 100), (1.6, 100), (2.0, 100), (2.05, 100)]
    found = heard(1.0, pieces, RATE, 0.2)
    assert (found.first_seconds, found.late_seconds) == (pytest.approx(0.3), pytest.approx(0.5))
    assert (found.dropouts, found.audio_seconds, found.error) == (1, 0.4, None)
    assert heard(1.0, pieces, RATE, 0.55).dropouts == 0
    assert heard(1.0, pieces, RATE, 0.0).dropouts == 2


def test_no_audio_is_no_success() -> None:
    found = heard(1.0, [], RATE, 0.2)
    assert (found.dropouts, found.first_seconds, found.error) == (1, float("inf"), "no audio")
