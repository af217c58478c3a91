"""Whose code a config may name: a run folder that a stranger sent must not be able to call what it likes.

A config names classes by import path and they are called with options from the same file, so a path into the standard
library or an installed package would run anything (`_target_: subprocess.getoutput`). Allowed is the source of this
package and what lies on the user's own path: a checkout, or a folder of PYTHONPATH.
"""

import sysconfig
from pathlib import Path

from snac_exp.errors import ConfigError

OWN = Path(__file__).parents[1]
LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")  # paths of sysconfig
INSTALLED = ("site-packages", "dist-packages")  # also those of another interpreter, which sysconfig does not know


def check_trusted(module: str, file: Path | None, key: str) -> None:
    """Refuse a module that a config must not name.

    Args:
        file: where the module's source lies; None where it has none, as what is built in or compiled.

    Raises:
        ConfigError: it belongs to Python or to an installed package; tells the key.
    """
    if file is None or not is_own_file(file):
        raise ConfigError(
            f"{key}: {module} belongs to Python or to an installed package, and a config may only name classes of "
            "snac_exp and of your own modules; derive a class from it in a module of your own, on PYTHONPATH"
        )


def is_own_file(file: Path) -> bool:
    """Whether a source file is of this package, or lies outside of Python and of installed packages."""
    # A link in one's own folder may lead into an installed package.
    file = file.resolve()
    # First, since this package may be installed among the others.
    if file.is_relative_to(OWN):
        return True
    libraries = {Path(path).resolve() for name, path in sysconfig.get_paths().items() if name in LIBRARIES}
    return not any(file.is_relative_to(path) for path in libraries) and not set(INSTALLED) & set(file.parts)
