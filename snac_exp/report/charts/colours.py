"""One colour per thing in all charts, tables and players of a page: classes of page.css, colour-blind safe."""

from collections.abc import Iterable

GREY = "c0"
_KNOWN = {
    "48k": "c1", "head_48k": "c1", "24k": "c2", "head_24k": "c2", "trunk": "c3",
    "loss": "c4", "objective": "c4", "adversary": "c5",
}  # fmt: skip
_PALETTE = ("c1", "c2", "c3", "c4", "c5", "c6", "c7")


def tint(name: str) -> str:
    """Of a head, a group or a signal; grey for references and for what has no colour of its own."""
    return _KNOWN.get(name, GREY)


def tints(names: Iterable[str]) -> dict[str, str]:
    """Of several things at once: known ones keep their colour, the others get the free ones, then grey."""
    listed = list(names)
    free = [colour for colour in _PALETTE if colour not in {tint(name) for name in listed}]
    found = {}
    for name in listed:
        found[name] = tint(name) if name in _KNOWN else free.pop(0) if free else GREY
    return found
