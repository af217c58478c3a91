"""Lines of JSON that are appended while something works: each with its digest, so that a damaged one is known."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from snac_exp.system.checksums.json_digest import KEY, signed, verified


def signed_line(values: Mapping[str, Any], key: str = KEY) -> str:
    """One line without its end, with the digest of `values` under `key`.

    Raises:
        ValueError: a NaN or infinity, which other readers of JSON refuse; what is undefined is null.
    """
    return json.dumps(signed(values, key), ensure_ascii=False, allow_nan=False)


def sound_lines(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """The objects of those lines that are as they were written; lines of earlier versions have no digest.

    One that was cut off by a kill, or is damaged, is left out: whoever keeps such lines does once more what it was of.
    """
    for line in lines:
        try:
            values = verified(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            yield values
