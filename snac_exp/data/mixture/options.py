"""The options that all mixtures have, and the sources that a recipe names in one."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from snac_exp.config.structure import nearest, structure
from snac_exp.data.mixture.shares import counts_of, shares_of
from snac_exp.data.mixture.streams import Streams
from snac_exp.errors import ConfigError, DataError

Int64Array = npt.NDArray[np.int64]
SourceT = TypeVar("SourceT")
OpenedT = TypeVar("OpenedT")


@dataclass(frozen=True)
class Weighted:
    """What a mixture itself takes of a source's options."""

    weight: float | None = None


@dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """Options of every mixture.

    sources: by name, each with its weight (share of the slices) and the options that it would have alone. temperature:
    without weights shares go by hours ** (1 / temperature). balance: rows or speakers, which of a source take turns.
    epoch_rows: items of an epoch; null = as many as all sources have.
    """

    sources: dict[str, Any]
    temperature: float | None = None
    balance: Literal["rows", "speakers"] = "rows"
    epoch_rows: int | None = None

    def opened(
        self,
        kind_of: Callable[[Mapping[str, Any]], type[SourceT]],
        common: Mapping[str, Any],
        open_source: Callable[[SourceT], OpenedT],
    ) -> dict[str, OpenedT]:
        """Every source opened as the data source that its options are of, with those that are `common` to all.

        Raises:
            ConfigError, DataError: no sources, options that a source does not have, or one that cannot be opened; names
                it.
        """
        if not isinstance(self.sources, dict) or not self.sources:
            raise ConfigError(
                f"data.sources={self.sources} names no sources; give each a name and its options: "
                "data.sources={a: {…}, b: {…}}"
            )
        if self.balance not in ("rows", "speakers"):
            raise ConfigError(f"data.balance={self.balance} is not valid; choose one of: rows, speakers")
        if self.epoch_rows is not None and self.epoch_rows < 1:
            raise ConfigError(f"data.epoch_rows={self.epoch_rows} must be at least 1, or null for all rows")
        found = {}
        for name, options in self.sources.items():
            source = _source_of(kind_of, name, options, common)
            try:
                found[str(name)] = open_source(source)
            except (ConfigError, DataError) as error:
                raise type(error)(f"data.sources.{name}: {error}") from error
        return found

    def streams(self, hours: Sequence[float], speakers: Sequence[Callable[[], Int64Array]], seed: int) -> Streams:
        """Which items of every source an epoch holds. speakers: of each source the speaker (items,) of every item."""
        names = list(map(str, self.sources))
        weights = {name: self.weight_of(name) for name in names}
        shares = shares_of(weights, hours, self.temperature)
        numbers = [of_source() for of_source in speakers]
        total = self.epoch_rows or sum(map(len, numbers))
        groups = numbers if self.balance == "speakers" else [np.zeros(len(part), np.int64) for part in numbers]
        return Streams.of(names, groups, counts_of(names, shares, total), seed)

    def weight_of(self, name: str) -> float | None:
        """The weight of a source; None where it has none."""
        given = {key: value for key, value in self.sources[name].items() if key == "weight"}
        return structure(Weighted, given, f"data.sources.{name}").weight


def _source_of(
    kind_of: Callable[[Mapping[str, Any]], type[SourceT]], name: object, options: object, common: Mapping[str, Any]
) -> SourceT:
    key = f"data.sources.{name}"
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"{key}: a source is named in metrics: use letters, digits, '_', '-' and '.'")
    if not isinstance(options, dict):
        raise ConfigError(f"{key}={options!r} must be a group of options, like {{cache_dir: FOLDER, weight: 2}}")
    kind = kind_of(options)
    own = {item.name for item in fields(kind)} - set(common) - {"sources"}  # type: ignore[arg-type]
    for option in options:
        if option in common:
            raise ConfigError(f"{key}.{option} is one for all sources; set data.{option}")
        if option not in own and option != "weight":
            raise ConfigError(f"unknown key '{key}.{option}'{nearest(str(option), [*own, 'weight'])}")
    values = {option: value for option, value in options.items() if option != "weight"}
    return structure(kind, {**values, **common}, key)
