"""Which code a run was made by, in git's terms."""

import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snac_exp import __version__

COMMIT_FILE, DIFF_FILE = "commit.txt", "uncommitted.diff"  # beside the code that a sweep's jobs run


@dataclass(frozen=True)
class CodeVersion:
    """Version of the package, commit it stands at, and whether files that git tracks were edited since.

    `commit` and `dirty` are None where git knows nothing: an installed package, or a checkout without a commit.
    """

    version: str
    commit: str | None
    dirty: bool | None

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def code_version(root: Path | None = None) -> CodeVersion:
    """Of the code under `root`; None: of the code that is running.

    The jobs of a sweep run from a copy, SWEEP/code, which is no checkout: there the commit and the uncommitted changes
    that were noted beside it when it was taken count.
    """
    root = (root or Path(__file__).resolve().parents[2]).resolve()
    commit, diff = root.parent / COMMIT_FILE, root.parent / DIFF_FILE
    if commit.is_file() and diff.is_file():
        noted = commit.read_text(encoding="utf-8").strip()
        return CodeVersion(__version__, noted if _is_commit(noted) else None, diff.stat().st_size > 0)
    if _git(root, "rev-parse", "--show-toplevel") != str(root):
        return CodeVersion(__version__, None, None)  # installed; a repository further up is another one
    head = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return CodeVersion(__version__, head, bool(changes) if head else None)


def _is_commit(text: str) -> bool:
    return len(text) in (40, 64) and set(text) <= set("0123456789abcdef")


def _git(root: Path, *arguments: str) -> str | None:
    """What git answers, or None where it does not (or is not installed)."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
