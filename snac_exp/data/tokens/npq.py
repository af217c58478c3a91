"""NPQ1 token files and their two older forms; a reader that trusts nothing it has not checked.

All numbers are little-endian, tokens are row-major [frames, codebooks]:

    NPQ1    magic, version u16, K u16, frames/s f32, kbps f32, T u32, vocab u32[K], dtype u8, tokens   21 + 4K bytes
            version 2: then the CRC-32 of the tokens and that of the header with it, u32 each; version 1 ends there
    rated   K i32, frames/s f32, kbps f32, T i32, vocab i32[K], tokens u16                             16 + 4K bytes
    bare    K i32, frames/s f32, vocab i32[K], T i32, tokens u16                                       12 + 4K bytes

The older forms have no magic. A file is taken for one only if every number in that header makes sense and the file ends
exactly where its header says. No file passes as both: equal lengths need K (T_bare - T_rated) = 2; for K = 1 both T are
the same four bytes, and for K = 2 a vocabulary of `bare` would be the bits of the bit rate of `rated`, a number below
1e-40, which is no bit rate.
"""

import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path

MAGIC = b"NPQ1"
VERSION = 2
NUM_CHECKSUM_BYTES = {1: 0, 2: 8}  # by version
DTYPES = ("<u1", "<u2", "<u4")  # by the dtype byte of NPQ1
MAX_CODEBOOKS = 2**16 - 1  # K is a u16
MAX_OLD_VOCAB = 2**16  # the older forms hold uint16
MIN_KBPS = 1e-3  # a smaller bit rate can only be 0, for "unknown"
TOKENS_PER_CHECK = 2**22  # bounds the memory of a comparison

TokenArray = npt.NDArray[np.integer]


class NpqError(DataError):
    """A token file that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class NpqHeader:
    """What a token file says about itself.

    form: npq1, rated or bare. frames_per_second in Hz. kbps: source bit rate, 0 = unknown. offset: bytes before the
    tokens. dtype: NumPy name of a stored token. checksum: CRC-32 of the tokens, None in version 1 and older forms.
    """

    form: str
    vocab_sizes: tuple[int, ...]
    num_frames: int
    frames_per_second: float
    kbps: float
    dtype: str
    offset: int
    checksum: int | None = None

    @property
    def num_codebooks(self) -> int:
        """Codebooks, tokens per frame."""
        return len(self.vocab_sizes)

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one frame."""
        return self.num_codebooks * np.dtype(self.dtype).itemsize

    @property
    def file_size(self) -> int:
        """Bytes a file with this header has."""
        after = 0 if self.checksum is None else NUM_CHECKSUM_BYTES[VERSION]
        return self.offset + self.num_frames * self.bytes_per_frame + after


def read_header(path: Path | str) -> NpqHeader:
    """The checked header of a token file; its size must be exactly what the header says.

    Raises:
        NpqError: not there, of no known form, impossible numbers, cut off or with something after its tokens.
    """
    try:
        with open(path, "rb") as file:
            # Of the open file: another one may take its name meanwhile.
            size = os.fstat(file.fileno()).st_size
            # Enough to tell the form and K, which say how long the header is.
            head = file.read(24)
            if head[:4] == MAGIC:
                num_codebooks = struct.unpack_from("<H", head.ljust(24, b"\0"), 6)[0]
                head = (head + file.read(max(21 + 4 * num_codebooks - 24, 0)))[: 21 + 4 * num_codebooks]
                file.seek(max(size - NUM_CHECKSUM_BYTES[VERSION], 0))
                return _npq1(path, head, file.read(), size)
            num_codebooks = struct.unpack_from("<i", head.ljust(4, b"\0"))[0]
            if not (len(head) >= 12 and 1 <= num_codebooks <= MAX_CODEBOOKS):
                raise NpqError(f"{path}: not an NPQ file: neither the magic NPQ1 nor a possible number of codebooks")
            return _older(path, head + file.read(max(16 + 4 * num_codebooks - 24, 0)), size)
    except OSError as error:
        raise NpqError(f"{path}: cannot be read ({error.strerror}); name a token file") from error


def _npq1(path: Path | str, head: bytes, end: bytes, size: int) -> NpqHeader:
    if len(head) < 8:
        raise NpqError(f"{path}: cut off within its header; make the file again")
    version, num_codebooks = struct.unpack_from("<HH", head, 4)
    if version not in NUM_CHECKSUM_BYTES:
        raise NpqError(f"{path}: NPQ version {version}, this program reads 1 and 2; convert it where it was made")
    if num_codebooks < 1:
        raise NpqError(f"{path}: has no codebooks; make the file again")
    if len(head) < 21 + 4 * num_codebooks:
        raise NpqError(f"{path}: cut off within its header; make the file again")
    rate, kbps, num_frames = struct.unpack_from("<ffI", head, 8)
    vocab = struct.unpack_from(f"<{num_codebooks}I", head, 20)
    code = head[20 + 4 * num_codebooks]
    if code >= len(DTYPES):
        raise NpqError(f"{path}: dtype {code} is none of 0 (uint8), 1 (uint16), 2 (uint32); make the file again")
    of_tokens, of_head = struct.unpack("<II", end.rjust(8, b"\0")) if version == VERSION else (None, None)
    header = NpqHeader("npq1", vocab, num_frames, rate, kbps, DTYPES[code], 21 + 4 * num_codebooks, of_tokens)
    for problem in _problems(header, size):
        raise NpqError(f"{path}: {problem}; make the file again")
    if of_head is not None and zlib.crc32(head + end[:4]) != of_head:
        raise NpqError(f"{path}: damaged, its header does not match its checksum; make the file again")
    return header


def _older(path: Path | str, head: bytes, size: int) -> NpqHeader:
    """The one older form that fits; none or several are an error."""
    candidates = [header for header in (_rated(head), _bare(head)) if header is not None]
    fitting = [header for header in candidates if not _problems(header, size)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NpqError(f"{path}: fits both older NPQ headers; convert it to NPQ1 where it was made")
    reasons = "; ".join(f"as {header.form}: {_problems(header, size)[0]}" for header in candidates) or "too short"
    raise NpqError(f"{path}: no magic NPQ1, and no older NPQ header fits ({reasons}); make the file again")


def _rated(head: bytes) -> NpqHeader | None:
    num_codebooks = struct.unpack_from("<i", head)[0]
    if len(head) < 16 + 4 * num_codebooks:
        return None
    rate, kbps, num_frames = struct.unpack_from("<ffi", head, 4)
    vocab = struct.unpack_from(f"<{num_codebooks}i", head, 16)
    return NpqHeader("rated", vocab, num_frames, rate, kbps, "<u2", 16 + 4 * num_codebooks)


def _bare(head: bytes) -> NpqHeader | None:
    num_codebooks = struct.unpack_from("<i", head)[0]
    if len(head) < 12 + 4 * num_codebooks:
        return None
    rate = struct.unpack_from("<f", head, 4)[0]
    *vocab, num_frames = struct.unpack_from(f"<{num_codebooks + 1}i", head, 8)
    return NpqHeader("bare", tuple(vocab), num_frames, rate, 0.0, "<u2", 12 + 4 * num_codebooks)


def _problems(header: NpqHeader, size: int) -> list[str]:
    """Everything in a header that cannot be, against a file of `size` bytes."""
    largest = MAX_OLD_VOCAB if header.form != "npq1" else 2 ** (8 * np.dtype(header.dtype).itemsize)
    found = []
    if not (math.isfinite(header.frames_per_second) and header.frames_per_second > 0):
        found.append(f"{header.frames_per_second} frames per second are not possible")
    if header.kbps != 0 and not (math.isfinite(header.kbps) and header.kbps >= MIN_KBPS):
        found.append(f"a bit rate of {header.kbps} kbps is not possible")
    wrong = [vocab for vocab in header.vocab_sizes if not 1 <= vocab <= largest]
    if wrong:
        found.append(f"a vocabulary of {wrong[0]} does not fit {header.dtype[1:]} tokens (1 to {largest})")
    if header.num_frames < 0:
        found.append(f"{header.num_frames} frames are not possible")
    elif header.file_size != size:
        found.append(
            f"{header.num_frames} frames of {header.num_codebooks} codebooks make {header.file_size} bytes, "
            f"the file has {size}"
        )
    return found


def map_tokens(path: Path | str, header: NpqHeader) -> TokenArray:
    """The tokens (num_frames, num_codebooks) of a file as a read-only memory map: reading a part costs that part."""
    shape = (header.num_frames, header.num_codebooks)
    if header.num_frames == 0:
        return np.zeros(shape, header.dtype)
    if os.path.getsize(path) != header.file_size:  # touching a mapping beyond the end would end the process
        raise NpqError(f"{path}: changed its size since it was opened; leave token files alone while they are in use")
    tokens: TokenArray = np.memmap(path, header.dtype, "r", header.offset, shape)
    return tokens


def check_tokens(path: Path | str, tokens: TokenArray, vocab_sizes: tuple[int, ...], first_frame: int = 0) -> None:
    """All tokens (frames, codebooks) lie below their codebook's size.

    Raises:
        NpqError: names the first frame and codebook that do not.
    """
    smallest = min(vocab_sizes)
    rows = max(TOKENS_PER_CHECK // len(vocab_sizes), 1)
    for start in range(0, len(tokens), rows):
        block = tokens[start : start + rows]
        # Codebooks apart only where this quick look leaves a doubt.
        if block.max() < smallest:
            continue
        wrong = np.argwhere(block >= np.array(vocab_sizes))
        if len(wrong):
            frame, codebook = wrong[0]
            raise NpqError(
                f"{path}: token {block[frame, codebook]} in frame {first_frame + start + frame} of codebook "
                f"{codebook}, which has {vocab_sizes[codebook]}; make the file again"
            )


def check_content(path: Path | str, header: NpqHeader, tokens: TokenArray) -> None:
    """All tokens (num_frames, num_codebooks) of a file lie below their codebook's size and are as they were written.

    Raises:
        NpqError: they are not. Without a checksum only the sizes are compared.
    """
    check_tokens(path, tokens, header.vocab_sizes)
    if header.checksum is not None:
        data: Any = np.ascontiguousarray(tokens)
        if zlib.crc32(data) != header.checksum:
            raise NpqError(f"{path}: damaged, its tokens do not match their checksum; make the file again")


def read_npq(path: Path | str) -> tuple[NpqHeader, TokenArray]:
    """Header and all tokens (num_frames, num_codebooks) of a file, every one checked; errors as `read_header`."""
    header = read_header(path)
    tokens = map_tokens(path, header)
    check_content(path, header, tokens)
    return header, tokens


def write_npq(
    path: Path | str,
    tokens: npt.NDArray[np.integer],
    vocab_sizes: tuple[int, ...],
    frames_per_second: float,
    kbps: float = 0.0,
) -> NpqHeader:
    """Write an NPQ1 file atomically, in the smallest dtype that holds the number max(vocab_sizes).

    Args:
        tokens: (num_frames, num_codebooks).
        kbps: bit rate of the source in kbit/s, 0 = unknown.

    Raises:
        NpqError: the tokens do not fit the vocabularies, or a number is not possible.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.shape[1] != len(vocab_sizes) or not 1 <= len(vocab_sizes) <= MAX_CODEBOOKS:
        raise NpqError(f"{path}: tokens of shape {tokens.shape} are not (frames, {len(vocab_sizes)} codebooks)")
    if len(tokens) >= 2**32 or (tokens.size and tokens.min() < 0):
        raise NpqError(f"{path}: negative tokens, or more frames than NPQ1 counts; write several files")
    code = _dtype_code(path, max(vocab_sizes))
    with np.errstate(over="ignore"):  # too large for the file becomes infinite, which is refused below
        # Rounded as the file stores them: the header given back equals the one that will be read.
        rate, kbps = float(np.float32(frames_per_second)), float(np.float32(kbps))
    data = np.ascontiguousarray(tokens, DTYPES[code]).tobytes()
    checksum, offset = zlib.crc32(data), 21 + 4 * len(vocab_sizes)
    header = NpqHeader("npq1", tuple(vocab_sizes), len(tokens), rate, kbps, DTYPES[code], offset, checksum)
    for problem in _problems(header, header.file_size):
        raise NpqError(f"{path}: {problem}")
    if tokens.size:
        check_tokens(path, tokens, header.vocab_sizes)
    with atomic_path(Path(path)) as temporary, open(temporary, "wb") as file:
        head = MAGIC + struct.pack("<HHffI", VERSION, len(vocab_sizes), rate, kbps, len(tokens))
        head += struct.pack(f"<{len(vocab_sizes)}IB", *vocab_sizes, code)
        of_tokens = struct.pack("<I", checksum)
        file.write(head + data + of_tokens + struct.pack("<I", zlib.crc32(head + of_tokens)))
    return header


def _dtype_code(path: Path | str, largest_vocab: int) -> int:
    for code, dtype in enumerate(DTYPES):
        # The size itself must fit, not just its largest token: so the format has it.
        if largest_vocab < 2 ** (8 * np.dtype(dtype).itemsize):
            return code
    raise NpqError(f"{path}: a vocabulary of {largest_vocab} does not fit 32-bit tokens")
