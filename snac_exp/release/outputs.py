"""The outputs of a codec, keyed by the names of their heads; a rate names one where a single head has it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from snac_exp.config.structure import nearest
from snac_exp.errors import CodecError
from snac_exp.release.codes import is_whole


def rate_label(rate: int) -> str:
    """24000 -> 24k, 44100 -> 44100."""
    return f"{rate // 1000}k" if rate % 1000 == 0 else str(rate)


def labels_of(rates: Mapping[str, int]) -> dict[str, str]:
    """Head -> how its files are called: its rate, as in 48k, or its own name where two heads have that rate."""
    numbers = Counter(rates.values())
    # By rate where that is enough: the names of files stay the same when a head is renamed.
    return {name: rate_label(rate) if numbers[rate] == 1 else name for name, rate in rates.items()}


def head_of(rates: Mapping[str, int], head: str | None, sample_rate: int | None) -> str:
    """The one head that a name or a rate in Hz means; without either the one of the highest rate.

    Raises:
        CodecError: there is none, or there are several; the message lists them.
    """
    if head is not None:
        (name,) = checked_heads(rates, [head])
        if sample_rate is not None and rates[name] != sample_rate:
            raise CodecError(
                f"head={head!r} has {rates[name]} Hz, not sample_rate={sample_rate}: leave one of them out"
            )
        return name
    wanted = max(rates.values()) if sample_rate is None else sample_rate
    found = heads_at(rates, [wanted])
    if len(found) > 1:
        raise CodecError(f"{len(found)} heads have {wanted} Hz: {', '.join(found)}; say which: head={found[0]!r}")
    return found[0]


def heads_at(rates: Mapping[str, int], sample_rates: Sequence[int]) -> list[str]:
    """All heads of some rates in Hz, in the order of these rates; CodecError names the rates that there are."""
    listed = ", ".join(map(str, dict.fromkeys(rates.values())))
    if not sample_rates:
        raise CodecError(f"no rate is asked for; this codec has {listed}")
    for rate in sample_rates:
        if not is_whole(rate) or rate not in rates.values():
            raise CodecError(f"this codec has no output at {rate!r} Hz, only {listed}; decode at one and resample")
    return [name for rate in dict.fromkeys(sample_rates) for name in rates if rates[name] == rate]


def chosen_heads(
    rates: Mapping[str, int], heads: Sequence[str] | None, sample_rates: Sequence[int] | None
) -> list[str]:
    """The heads of these names, or of these rates in Hz; all where neither is given.

    Raises:
        CodecError: one of them is not there.
    """
    if heads:
        return checked_heads(rates, heads)
    return heads_at(rates, sample_rates) if sample_rates else list(rates)


def checked_heads(rates: Mapping[str, int], heads: Sequence[str]) -> list[str]:
    """The same names; CodecError if there is none or one is unknown."""
    if not heads:
        raise CodecError(f"no head is asked for; this codec has {', '.join(rates)}")
    for name in heads:
        if name not in rates:
            raise CodecError(f"this codec has no head {name!r}{nearest(str(name), rates)}")
    return list(dict.fromkeys(heads))
