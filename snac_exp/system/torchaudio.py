"""The one place that imports torchaudio.

torchaudio's wheel links CUDA: beside a CPU-only torch its compiled extension cannot be loaded and `import torchaudio`
raises OSError. What we use of it (resampling, mel filter banks) is plain PyTorch, so where the extension does not
load a stand-in for `torchaudio._extension` takes its place, saying that no extension is available.
Everything else in this package imports `functional` and `transforms` from here.
"""

import importlib
import sys
import types
from typing import Any


def _import_torchaudio() -> Any:
    try:
        return importlib.import_module("torchaudio")
    except OSError:  # the extension's shared library does not load beside this torch
        # A failed import leaves the submodules that it came through.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _extension_stand_in()
        return importlib.import_module("torchaudio")


def _extension_stand_in() -> types.ModuleType:
    def needs_extension(function: Any) -> Any:
        def refuse(*_args: Any, **_kwargs: Any) -> Any:
            raise RuntimeError(
                f"torchaudio's {function.__name__} needs its compiled extension, which does not load here"
            )

        return refuse

    module = types.ModuleType("torchaudio._extension")
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False, _IS_ALIGN_AVAILABLE=False, fail_if_no_align=needs_extension
    )
    return module


_torchaudio = _import_torchaudio()
functional: Any = _torchaudio.functional
transforms: Any = _torchaudio.transforms
__version__: str = _torchaudio.__version__
