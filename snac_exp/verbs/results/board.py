"""A page over all runs and sweeps of a folder, live while they run: table, curves, configs and sound side by side.

usage: snac-exp board [DIR] [port=7870] [key=value …]

DIR is outputs by default; a run or a sweep works too. Needs snac_exp[serve]. The board only reads. It is reachable from
this machine alone, unless host= opens it to others; they need the key in the environment variable SNAC_EXP_API_KEY,
which a browser asks for as a password (the user name is ignored).
"""

from collections.abc import Sequence
from pathlib import Path

from snac_exp.board.settings import BoardSettings
from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.release.listening.address import key_of_environment
from snac_exp.verbs.arguments import folders_and_options


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted."""
    folders, given = folders_and_options(arguments, list(BoardSettings.__dataclass_fields__))
    options = structure(BoardSettings, verb_values("board", given))
    if len(folders) > 1:
        raise ConfigError(f"a board shows one folder, not {len(folders)}; give the one above them")
    folder = folders[0] if folders else Path("outputs")
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; give the one that holds runs: snac-exp board DIR")
    for name in ("every_seconds", "max_connections", "header_seconds", "max_body_bytes"):
        # NaN is none either.
        if not getattr(options, name) > 0:
            raise ConfigError(f"{name}={getattr(options, name)} must be greater than 0")
    key = key_of_environment(options.host)
    try:
        from snac_exp.board.server import serve
    except ImportError as error:
        if (error.name or "").startswith("snac_exp"):
            raise
        raise ConfigError(f"the board needs {error.name}: pip install 'snac_exp[serve]'") from None
    serve(folder, options, key)
    return 0
