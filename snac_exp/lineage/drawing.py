"""A chain as text, as a diagram of Mermaid, and without the places of a machine."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from snac_exp.lineage.chain import Link

NUM_DIGITS = 12  # of a digest, enough to tell things apart
_SHOWN = ("name", "state", "from", "error")  # facts that tell what is not drawn as a parent
_ABSOLUTE = re.compile(r"(/|~|[A-Za-z]:\\)")


def label(link: Link) -> str:
    """One thing in one line: its role, kind and place, digest, facts and state."""
    what = link.parent
    known = [] if what.digest is None else [what.digest[:NUM_DIGITS]]
    known += [what.facts[name] for name in _SHOWN if name in what.facts]
    if "fingerprint" in what.facts:
        known.append(f"fingerprint {what.facts['fingerprint'][:NUM_DIGITS]}")
    state = f", {link.state}" + (" since" if link.state == "changed" else "") if link.state else ""
    about = f" ({', '.join(known)})" if known else ""
    return f"{link.role + ': ' if link.role else ''}{what.kind or 'something'} {what.path}{about}{state}"


def tree(link: Link) -> list[str]:
    """The lines of a tree, the thing itself first."""
    lines = [label(link)]
    for number, parent in enumerate(link.parents, start=1):
        first, *further = tree(parent)
        is_last = number == len(link.parents)
        lines.append(f"{'└── ' if is_last else '├── '}{first}")
        lines += [f"{'    ' if is_last else '│   '}{line}" for line in further]
    return lines


def mermaid(link: Link) -> list[str]:
    """The lines of a flow chart, parents above what was made from them."""
    return ["flowchart TB", *_edges(link, "n")]


def _edges(link: Link, name: str) -> Iterator[str]:
    text = label(replace(link, role="")).replace("#", "#35;").replace('"', "#quot;")
    yield f'    {name}["{text}"]'
    for number, parent in enumerate(link.parents):
        yield from _edges(parent, inner := f"{name}_{number}")
        yield f'    {inner} -- "{parent.role}" --> {name}'


def without_places(link: Link) -> Link:
    """The chain for others: of absolute paths, which tell of a machine, the last part is left, of runs the last two."""
    what = link.parent
    facts = {name: _brief(value, 1) for name, value in what.facts.items() if name not in ("made_on", "error")}
    parent = replace(what, path=_brief(what.path, 2 if what.kind == "run" else 1), facts=facts)
    return replace(link, parent=parent, parents=tuple(map(without_places, link.parents)))


def _brief(text: str, num_parts: int) -> str:
    return "/".join(PurePath(text).parts[-num_parts:]) if _ABSOLUTE.match(text) else text
