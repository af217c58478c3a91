"""What a run, a checkpoint, an export or a cache was made from, back to the audio, as a tree.

usage: snac-exp lineage RUN|CHECKPOINT|FOLDER [format=tree|json|mermaid]

Each entry is shown with the first digits of its digest at the time it was used. Digests are those in the meaning.json
of a run, and those stored in code caches, targets and prepared folders. An entry with a different digest now is marked
`changed since`, one that no longer exists `gone`. An exported folder contains its lineage.
"""

import json
from collections.abc import Sequence

from snac_exp.config.arguments import is_path, unquoted
from snac_exp.errors import ConfigError

UNKNOWN = ("file", "folder")  # kinds that are in a chain, but begin none
FORMATS = ("tree", "json", "mermaid")


def main(arguments: Sequence[str]) -> int:
    """Draw the chain."""
    options = [item for item in arguments if item.startswith("format=")]
    places = [item for item in arguments if item not in options]
    style = options[-1].partition("=")[2] if options else "tree"
    if style not in FORMATS:
        raise ConfigError(f"format={style} is not valid; choose one of: {', '.join(FORMATS)}")
    if len(places) != 1 or not is_path(places[0]):
        raise ConfigError("the lineage of what? snac-exp lineage RUN; a checkpoint, an exported folder or a cache")
    # Late, as it imports what reads data.
    from snac_exp.lineage.chain import chain
    from snac_exp.lineage.drawing import mermaid, tree

    found = chain(unquoted(places[0]))
    if found.parent.kind in UNKNOWN and not found.parents:
        raise ConfigError(
            f"{places[0]} is a {found.parent.kind}, and no run, checkpoint, exported folder, code cache, targets or "
            "prepared folder; nothing says what it was made from"
        )
    drawn = {"tree": tree, "mermaid": mermaid}
    lines = [json.dumps(found.to_json(), indent=2)] if style == "json" else drawn[style](found)
    print("\n".join(lines))
    return 0
