"""The code and configs as they were at submission, so that later edits do not reach a queued job."""

import shutil
import subprocess
from pathlib import Path

from snac_exp.config.compose import config_dir
from snac_exp.errors import ConfigError
from snac_exp.system.files import write_text
from snac_exp.system.paths.writing import naming
from snac_exp.system.process import code_root
from snac_exp.tracking.sweep_folder import SweepFolder

PACKAGES = ("snac_exp", "hydra_plugins")  # what jobs import


def take_snapshot(folder: SweepFolder) -> Path:
    """Copy what is running now into SWEEP/code; returns that folder.

    From a checkout: every tracked file as it lies there, edits included, untracked files of the package, and all of
    conf/, local and untracked ones too. SWEEP/commit.txt and SWEEP/uncommitted.diff tell what that was in git's terms.
    From an installed package: the package. Jobs import from the copy, since it stands first in PYTHONPATH.
    """
    root, target = code_root(), folder.code
    if _is_checkout(root):
        # -z: names come as they are, where git would quote spaces and other letters.
        names = _git(root, "ls-files", "-z").split("\0")
        # Untracked ones of the packages too: a head that is not committed yet is imported all the same.
        names += _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *PACKAGES).split("\0")
        _copy(root, target, sorted(set(filter(None, names))))
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
        write_text(folder.commit, commit.stdout if commit.returncode == 0 else "no commit yet\n")
        diff = _git(root, "diff", "HEAD") if commit.returncode == 0 else ""
        # A diff may hold bytes of any encoding; the file is for people and is UTF-8.
        write_text(folder.diff, diff.encode(errors="surrogateescape").decode(errors="replace"))
    else:
        for package in PACKAGES:
            _copy(root, target, _files_below(root, root / package))
    _copy_machine_code(root, target)
    # conf/ is partly there by now, from the tracked files.
    _copy(root, target, _files_below(root, config_dir()))
    if not (target / "snac_exp" / "__init__.py").is_file():
        raise ConfigError(f"the snapshot {target} holds no package snac_exp; was it copied from {root}?")
    return target


def _copy(root: Path, target: Path, names: list[str]) -> None:
    """Files by name; one deleted in the working tree is deleted in the copy."""
    for name in names:
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            # With its time: numba's compiled code is only used for a source of the same time and size.
            with naming(target / name):
                shutil.copy2(root / name, target / name)


def _files_below(root: Path, folder: Path) -> list[str]:
    found = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return [path.relative_to(root).as_posix() for path in found]


def _copy_machine_code(root: Path, target: Path) -> None:
    """What numba has compiled of the sources, which it knows by their times and sizes: no job compiles it again."""
    for package in PACKAGES:
        for path in (root / package).rglob("__pycache__/*.nb[ci]"):
            copied = target / path.relative_to(root)
            if copied.parent.parent.is_dir():
                copied.parent.mkdir(exist_ok=True)
                with naming(copied):
                    shutil.copy2(path, copied)


def _is_checkout(root: Path) -> bool:
    try:
        # An installed package may lie inside of somebody else's checkout, in its .venv.
        return Path(_git(root, "rev-parse", "--show-toplevel").strip()).resolve() == root
    except (ConfigError, FileNotFoundError):
        return False


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise ConfigError(f"git {' '.join(arguments[:2])} in {root}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="surrogateescape")
