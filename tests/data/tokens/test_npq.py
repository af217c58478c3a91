"""Token files: exact bytes, both older headers, and nothing trusted."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snac_exp.data.tokens.npq import NpqError, check_tokens, map_tokens, read_header, read_npq, write_npq

Content = tuple[np.ndarray, tuple[int, ...]]

fuzz = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rated_bytes(tokens: np.ndarray, vocab: tuple[int, ...], rate: float = 86.0, kbps: float = 8.0) -> bytes:
    """The older header with a bit rate, written from its description, not by the package."""
    head = struct.pack("<iffi", len(vocab), rate, kbps, len(tokens)) + struct.pack(f"<{len(vocab)}i", *vocab)
    return head + tokens.astype("<u2").tobytes()


def bare_bytes(tokens: np.ndarray, vocab: tuple[int, ...], rate: float = 86.0) -> bytes:
    """The oldest header."""
    head = struct.pack("<if", len(vocab), rate) + struct.pack(f"<{len(vocab)}i", *vocab)
    return head + struct.pack("<i", len(tokens)) + tokens.astype("<u2").tobytes()


@st.composite
def contents(draw: st.DrawFn, largest: int = 2**32 - 1) -> Content:
    """Tokens (T, K) and vocabularies that fit; small ones and those at the borders of the dtypes."""
    sizes = st.one_of(st.integers(1, 40), st.sampled_from([255, 256, 257, 65535, 65536, 65537, 2**32 - 1]))
    vocab = tuple(draw(st.lists(sizes.filter(lambda size: size <= largest), min_size=1, max_size=5)))
    num_frames = draw(st.integers(0, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(0, np.array(vocab), (num_frames, len(vocab))), vocab


def test_npq1_is_byte_for_byte_what_the_format_says(tmp_path: Path) -> None:
    tokens = np.array([[1, 2], [1023, 0], [7, 500]])
    write_npq(tmp_path / "a.npq", tokens, (1024, 512), 86.1328125, 7.75)
    head = b"NPQ1" + struct.pack("<HHffI", 2, 2, 86.1328125, 7.75, 3) + struct.pack("<II", 1024, 512) + b"\x01"
    assert len(head) == 21 + 4 * 2
    body = np.array([1, 2, 1023, 0, 7, 500], "<u2").tobytes()
    of_body = struct.pack("<I", zlib.crc32(body))
    of_head = struct.pack("<I", zlib.crc32(head + of_body))
    assert (tmp_path / "a.npq").read_bytes() == head + body + of_body + of_head


@pytest.mark.parametrize(("vocab", "code"), [(255, 0), (256, 1), (65535, 1), (65536, 2), (2**32 - 1, 2)])
def test_the_dtype_is_the_smallest_that_holds_the_vocabulary(tmp_path: Path, vocab: int, code: int) -> None:
    header = write_npq(tmp_path / "a.npq", np.array([[vocab - 1]]), (vocab,), 50.0)
    assert (tmp_path / "a.npq").read_bytes()[24] == code
    assert header.dtype == ("<u1", "<u2", "<u4")[code]
    assert read_npq(tmp_path / "a.npq")[1].tolist() == [[vocab - 1]]


@pytest.mark.slow
@fuzz
@given(content=contents(), rate=st.floats(0.125, 1e6, width=32), kbps=st.sampled_from([0.0, 0.98, 64.0]))
def test_npq1_round_trips(tmp_path: Path, content: Content, rate: float, kbps: float) -> None:
    tokens, vocab = content
    written = write_npq(tmp_path / "a.npq", tokens, vocab, rate, kbps)
    header, read = read_npq(tmp_path / "a.npq")
    assert header == written
    assert (header.form, header.vocab_sizes, header.frames_per_second) == ("npq1", vocab, rate)
    assert header.kbps == float(np.float32(kbps))
    assert np.array_equal(read, tokens)


@pytest.mark.slow
@fuzz
@given(content=contents(largest=65536), kbps=st.sampled_from([0.0, 0.98, 64.0]))
def test_both_older_headers_are_told_apart(tmp_path: Path, content: Content, kbps: float) -> None:
    tokens, vocab = content
    for form, data in (("rated", rated_bytes(tokens, vocab, kbps=kbps)), ("bare", bare_bytes(tokens, vocab))):
        (tmp_path / "old.npq").write_bytes(data)
        header, read = read_npq(tmp_path / "old.npq")
        assert (header.form, header.vocab_sizes, header.num_frames) == (form, vocab, len(tokens))
        assert np.array_equal(read, tokens)


@pytest.mark.parametrize("num_frames", [0, 1, 2, 1022, 1023, 1024])
@pytest.mark.parametrize("num_codebooks", [1, 2])
def test_the_only_lengths_that_fit_both_older_headers_are_still_read_as_one(
    tmp_path: Path, num_codebooks: int, num_frames: int
) -> None:
    # For K = 2 the lengths fit both when the vocabulary of `rated` equals its frames + 1 and that of `bare` its frames.
    tokens, path = np.zeros((num_frames, num_codebooks), np.int64), tmp_path / "old.npq"
    path.write_bytes(rated_bytes(tokens, (num_frames + 1,) * num_codebooks))
    assert read_header(path).form == "rated"
    path.write_bytes(bare_bytes(tokens, (max(num_frames, 1),) * num_codebooks))
    assert read_header(path).form == "bare"


def test_a_file_that_fits_both_older_headers_by_length_needs_an_impossible_bit_rate(tmp_path: Path) -> None:
    # bytes 8:12 are kbps of `rated` and vocab[0] of `bare`; 12:16 are T of `rated` and vocab[1] of `bare`.
    data = struct.pack("<ifiiii", 2, 86.0, 1024, 99, 100, 1024) + bytes(2 * 2 * 99)
    assert len(data) == (16 + 4 * 2) + 99 * 4 == (12 + 4 * 2) + 100 * 4
    (tmp_path / "old.npq").write_bytes(data)
    header = read_header(tmp_path / "old.npq")
    assert (header.form, header.num_frames, header.vocab_sizes) == ("bare", 100, (1024, 99))


@pytest.mark.slow
@fuzz
@given(content=contents(largest=65536), data=st.data())
def test_a_mutated_file_is_refused_or_read_within_its_bounds(
    tmp_path: Path, content: Content, data: st.DataObject
) -> None:
    tokens, vocab = content
    path = tmp_path / "a.npq"
    write_npq(path, tokens, vocab, 86.0)
    original = data.draw(st.sampled_from([path.read_bytes(), rated_bytes(tokens, vocab), bare_bytes(tokens, vocab)]))
    mutated = bytearray(original)
    for position in data.draw(st.lists(st.integers(0, max(len(mutated) - 1, 0)), max_size=4)):
        mutated[position] = data.draw(st.integers(0, 255))
    mutated = mutated[: data.draw(st.integers(0, len(mutated)))] if data.draw(st.booleans()) else mutated
    path.write_bytes(bytes(mutated) + data.draw(st.binary(max_size=3)))
    try:
        header, read = read_npq(path)
    except NpqError:
        return
    assert read.shape == (header.num_frames, header.num_codebooks)
    assert header.file_size == path.stat().st_size
    assert all(read[:, k].max(initial=0) < size for k, size in enumerate(header.vocab_sizes))


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_random_bytes_raise_nothing_but_a_specific_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npq").write_bytes(data)
    try:
        header, read = read_npq(tmp_path / "a.npq")
    except NpqError:
        return
    assert header.file_size == len(data)
    assert read.shape == (header.num_frames, header.num_codebooks)


def npq1(version: int = 1, k: int = 2, rate: float = 86.0, kbps: float = 8.0, t: int = 3, **more: object) -> bytes:
    vocab, code = more.get("vocab", (1024, 1024)), more.get("code", 1)
    payload = more.get("payload", bytes(2 * 2 * 3))
    return b"NPQ1" + struct.pack("<HHffI", version, k, rate, kbps, t) + struct.pack("<2IB", *vocab, code) + payload


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither the magic"),
        (b"NPQ", "neither the magic"),
        (b"NPQ1", "cut off within its header"),
        (npq1()[:25], "cut off within its header"),
        (npq1()[:-1], "make 41 bytes, the file has 40"),
        (npq1() + b"x", "make 41 bytes, the file has 42"),
        (npq1(version=3), "version 3"),
        (npq1(version=2), "make 49 bytes, the file has 41"),
        (npq1(version=2) + bytes(8), "its header does not match its checksum"),
        (npq1(k=0), "no codebooks"),
        (npq1(t=2**32 - 1), "make 17179869209 bytes"),
        (npq1(vocab=(1024, 2**32 - 1), k=2), "vocabulary of 4294967295"),
        (npq1(vocab=(0, 4)), "vocabulary of 0"),
        (npq1(code=3), "dtype 3"),
        (npq1(rate=float("nan")), "nan frames per second"),
        (npq1(rate=0.0), "0.0 frames per second"),
        (npq1(kbps=float("inf")), "bit rate of inf"),
        (npq1(payload=struct.pack("<6H", 0, 0, 0, 0, 0, 1024)), "token 1024 in frame 2 of codebook 1"),
        (b"RIFF" + bytes(100), "neither the magic"),
        (rated_bytes(np.zeros((4, 2)), (16, 16))[:-2], "no older NPQ header fits"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.npq"
    path.write_bytes(data)
    with pytest.raises(NpqError, match=message) as caught:
        read_npq(path)
    assert str(path) in str(caught.value)


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.npq"):
        with pytest.raises(NpqError, match="cannot be read"):
            read_header(path)


def test_a_file_that_shrinks_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npq"
    header = write_npq(path, np.zeros((50, 2), np.int64), (8, 8), 50.0)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(NpqError, match="changed its size"):
        map_tokens(path, header)


@pytest.mark.parametrize(
    ("tokens", "vocab", "rate"),
    [
        (np.array([[8, 0]]), (8, 8), 50.0),
        (np.array([[-1, 0]]), (8, 8), 50.0),
        (np.array([1, 2]), (8, 8), 50.0),
        (np.array([[1, 2]]), (8,), 50.0),
        (np.array([[1]]), (2**32,), 50.0),
        (np.array([[1]]), (8,), 1e300),
    ],
)
def test_the_writer_refuses_what_the_reader_would(
    tmp_path: Path, tokens: np.ndarray, vocab: tuple[int, ...], rate: float
) -> None:
    with pytest.raises(NpqError):
        write_npq(tmp_path / "a.npq", tokens, vocab, rate)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_token_is_found_beyond_the_first_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snac_exp.data.tokens.npq.TOKENS_PER_CHECK", 8)
    tokens = np.zeros((20, 2), np.uint16)
    tokens[17, 0] = 5
    check_tokens("a.npq", tokens, (6, 5))
    tokens[17, 1] = 5
    with pytest.raises(NpqError, match="token 5 in frame 117 of codebook 1"):
        check_tokens("a.npq", tokens, (6, 5), first_frame=100)
