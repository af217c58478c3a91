"""Damage to files: seeded mutations of bytes, and what became of opening a file with each of them.

Tests use small counts; a campaign gives large ones. An interpreter that crashes ends the process, which says it too.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from snac_exp.errors import SnacExpError

SAME, REFUSED, UNNAMED, WRONG = "same", "refused", "refused without naming the file", "wrong values"
CAMPAIGN, TIMES = "SNAC_EXP_CAMPAIGN", "SNAC_EXP_CAMPAIGN_TIMES"
"""Variables of a campaign: the file that records it, and how many times as many mutations as a test asks for."""
LONGEST = 64  # bytes of a zeroed run, a swapped block or an insertion


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The data with one damage: a bit or byte changed, a run zeroed, the end cut, two blocks swapped, bytes inserted.

    It differs from the data, unless the data is too short or too uniform for that.
    """
    for _ in range(100):
        damaged = rng.choice(KINDS)(data, rng)
        if damaged != data:
            return damaged
    return data


def survives(
    opening: Callable[[Path], object],
    path: Path,
    expected: object,
    seed: int,
    count: int,
    *,
    keep_times: bool = True,
    without_checksum: bool = False,
) -> Counter[str]:
    """How `count` openings of a file ended, each with another damage; the file is as before in the end.

    Outcomes: SAME, REFUSED (an error of ours that names the file), UNNAMED (one that does not), WRONG, or the class of
    any other exception. What is neither SAME nor REFUSED is printed with the number that `mutation` takes.
    `opening` gives something that compares equal. keep_times: the file's times stay, as when a disk loses bits.
    A campaign goes on for more mutations after those and records them all, but for files of earlier versions
    (without_checksum), which nothing protects.
    """
    data, stat = path.read_bytes(), path.stat()

    def tried(number: int) -> str:
        path.write_bytes(mutation(data, seed, number))
        if keep_times:
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        outcome = _outcome(opening, path, expected)
        if outcome not in (SAME, REFUSED):
            print(f"{path}: mutation {number} of seed {seed}: {outcome}")
        return outcome

    try:
        outcomes = Counter(tried(number) for number in range(count))
        if CAMPAIGN in os.environ and not without_checksum:
            further = Counter(tried(number) for number in range(count, count * int(os.environ[TIMES])))
            record(Path(os.environ[CAMPAIGN]), _name_of(path), outcomes + further)
        return outcomes
    finally:
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def record(log: Path, name: str, outcomes: Counter[str]) -> None:
    """Add a line to the record of a campaign."""
    with open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps({"file": name, "outcomes": outcomes}) + "\n")


def _name_of(path: Path) -> str:
    """The test that opens it, and the file."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0].removeprefix("tests/")
    return f"{test}: {path.name}"


def mutation(data: bytes, seed: int, number: int) -> bytes:
    """The damage of one number of a seed, so that one that did harm can be had again alone."""
    return mutate(data, random.Random(f"{seed} {number}"))


def harmless(outcomes: Counter[str]) -> bool:
    """Whether every opening was refused by name or gave the same, and some were refused."""
    return set(outcomes) <= {SAME, REFUSED} and outcomes[REFUSED] > 0


def _outcome(opening: Callable[[Path], object], path: Path, expected: object) -> str:
    try:
        found = opening(path)
    except SnacExpError as error:
        return REFUSED if path.name in str(error) else UNNAMED
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__qualname__}: {str(error)[:80]}"
    return SAME if found == expected else WRONG


def _flip_bit(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _change_byte(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(1) + data[at + 1 :]


def _zero_run(data: bytes, rng: random.Random) -> bytes:
    at, length = _run(data, rng)
    return data[:at] + bytes(length) + data[at + length :]


def _cut_end(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((rng.randrange(len(data)), max(len(data) - rng.randint(1, LONGEST), 0)))]


def _swap_blocks(data: bytes, rng: random.Random) -> bytes:
    length = rng.randint(1, max(min(LONGEST, len(data) // 2), 1))
    one, other = sorted(rng.randrange(max(len(data) - length, 1)) for _ in range(2))
    if other < one + length:
        return data
    first, second = data[one : one + length], data[other : other + length]
    return data[:one] + second + data[one + length : other] + first + data[other + length :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.randint(1, LONGEST)) + data[at:]


def _run(data: bytes, rng: random.Random) -> tuple[int, int]:
    at = rng.randrange(len(data))
    return at, rng.randint(1, min(LONGEST, len(data) - at))


KINDS = (_flip_bit, _change_byte, _zero_run, _cut_end, _swap_blocks, _insert)
