"""What the check needs of packages: what it brings along in a folder, and what the machine has to have.

    python -m benchmarks.gpu_check wheels [PACKAGE…]      where there is a network: into gpu-wheels/

Machines with PyTorch for a GPU mostly have the large ones (NumPy, SciPy, pyarrow, numba, matplotlib: 10 to 60 MB each,
no two of which fit beside each other) and lack the small ones. Versions are those of constraints.txt.
"""

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from snac_exp.system.files import folder_beside

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "gpu-wheels"
PYTHON = (3, 12)
MOST_BYTES = 60_000_000

BROUGHT = {  # module -> packages
    "hydra": ("hydra-core", "omegaconf", "antlr4-python3-runtime"),
    "submitit": ("submitit", "cloudpickle"),
    "lightning_fabric": ("lightning-fabric", "lightning-utilities"),
    "snac": ("snac", "einops"),
    "soundfile": ("soundfile", "cffi", "pycparser"),
    "pystoi": ("pystoi",),
    "torchaudio": ("torchaudio",),
}
NEEDED = {  # module -> package
    "torch": "torch", "triton": "triton", "numpy": "numpy", "scipy": "scipy", "pyarrow": "pyarrow", "numba": "numba",
    "matplotlib": "matplotlib", "PIL": "pillow", "jinja2": "Jinja2", "rich": "rich", "psutil": "psutil",
    "safetensors": "safetensors", "huggingface_hub": "huggingface_hub", "yaml": "PyYAML", "packaging": "packaging",
}  # fmt: skip


def collect(more: Sequence[str] = ()) -> str:
    """Fetch wheels of what is brought, and of `more` packages, into a new folder; says what lies there.

    Raises:
        SystemExit: the folder is there already, pip fails, or it is more than fits.
    """
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} is there already; remove it to collect anew")
    versions = _versions()
    with folder_beside(FOLDER) as folder:
        for package in [*(package for packages in BROUGHT.values() for package in packages), *more]:
            _fetch(package if "==" in package else f"{package}=={versions[_plain(package)]}", folder)
        sizes = {path.name: path.stat().st_size for path in folder.glob("*.whl")}
        total = sum(sizes.values())
        if total > MOST_BYTES:
            large = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items() if size > 5e6)
            raise SystemExit(f"{total / 1e6:.1f} MB are more than {MOST_BYTES / 1e6:.0f}: {large}")
        folder.rename(FOLDER)
    needed = ", ".join(NEEDED.values())
    return f"{len(sizes)} wheels, {total / 1e6:.1f} MB in {FOLDER}\nthe machine has to have: {needed}"


def lacking() -> dict[str, str]:
    """Module that cannot be imported here -> why."""
    found = {}
    for module in (*NEEDED, *BROUGHT):
        if module == "torchaudio":  # the package has a way of its own to import it
            if importlib.util.find_spec(module) is None:
                found[module] = "not installed"
            continue
        try:
            importlib.import_module(module)
        except Exception as error:
            found[module] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


def unpack(site: Path) -> None:
    """Let Python find what was brought, before what is installed, where a module of it is not there at all.

    Raises:
        SystemExit: this Python is not the one that the wheels are for.
    """
    wheels = sorted(FOLDER.glob("*.whl"))
    if not wheels or all(importlib.util.find_spec(module) for module in BROUGHT):
        return
    if sys.version_info[:2] != PYTHON:
        raise SystemExit(f"{FOLDER} is for Python {PYTHON[0]}.{PYTHON[1]}, and this is {sys.version.split()[0]}")
    for wheel in wheels:  # of packages in a plain layout, for which this is all that an installer does
        shutil.unpack_archive(wheel, site, "zip")
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()


def _versions() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {_plain(name): version for name, version in pairs}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _fetch(package: str, folder: Path) -> None:
    """A wheel for Linux; of what comes as source alone, one made here, which must be for every machine."""
    platforms = [f"--platform=manylinux{tag}_x86_64" for tag in ("_2_28", "_2_27", "_2_17", "2014")]
    version = ".".join(map(str, PYTHON))
    ready = ["--only-binary=:all:", f"--python-version={version}", "--implementation=cp", *platforms]
    for command in (["download", f"--dest={folder}", *ready], ["wheel", f"--wheel-dir={folder}"]):
        pip = [sys.executable, "-m", "pip", *command, "--quiet", "--no-deps", package]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode == 0:
            return
    raise SystemExit(f"pip finds no wheel of {package}: {done.stderr.strip().splitlines()[-1]}")
