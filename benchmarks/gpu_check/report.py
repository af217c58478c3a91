"""What a part finds: values, and what it expected of them; on the disk as soon as it is known."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snac_exp.system.files import write_json

OK, MISSED, FAILED = "ok", "missed", "failed"
OUT_OF_MEMORY, OUT_OF_TIME, NOT_BEGUN = "out of memory", "out of time", "not begun"


@dataclass
class Report:
    """Of one part. place: the file that holds it, so that values outlast a part that is ended.

    missed: expectations that did not come true, in words. tables: long texts, for the log.
    """

    place: Path
    values: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    status: str = OUT_OF_TIME  # until it says something else
    error: str | None = None

    def tell(self, **values: Any) -> None:
        """Note values, plain ones; those that JSON has no numbers for in words."""
        self.values |= {name: value if _is_plain(value) else str(value) for name, value in values.items()}
        self.write()

    def expect(self, name: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
        """Note a value and whether it is what it must be; NaN never is."""
        if at_most is not None and not value <= at_most:
            self.missed.append(f"{name} is {value:.4g}, must be at most {at_most:g}")
        if at_least is not None and not value >= at_least:
            self.missed.append(f"{name} is {value:.4g}, must be at least {at_least:g}")
        self.tell(**{name: value})

    def write(self) -> None:
        """Put it on the disk, whole or not at all."""
        write_json(self.place, self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"status": self.status, "values": self.values, "missed": self.missed, "error": self.error}


def _is_plain(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
