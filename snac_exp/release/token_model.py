"""A trained token model, opened from what its run left behind."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.config.schema import Codec, LanguageModel
from snac_exp.config.structure import structure
from snac_exp.errors import CheckpointError, ConfigError
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class TokenModel:
    """A token transformer in eval mode, and the codec of its frames as its run was told.

    codec_fingerprint: of the SNAC that the frames are of; None where there is none, or the run knew of none.
    """

    model: TokenTransformer
    codec: Codec
    codec_fingerprint: str | None


def load_token_model(source: Path, device: torch.device | str = "cpu") -> TokenModel:
    """Open a run folder (its checkpoints/best_model.pt) or a checkpoint file.

    The architecture is that of the run's config and the layout of its tokens. Where the run averaged its weights, the
    averaged ones are taken: best_model.pt has them in place of the others, other checkpoints beside them.

    Raises:
        CheckpointError: nothing there, no token model, or weights that do not fit.
    """
    path = _file_of(source)
    saved = read_checkpoint(path)
    settings, codec, layout = _described(saved, path)
    model = TokenTransformer(settings, layout).to(device)
    try:
        # The averaged parameters replace the trained ones; buffers, which are not averaged, stay.
        model.load_state_dict(saved.model | (saved.average or {}))
    except (RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its weights are not of the model in its config ({error})") from None
    return TokenModel(model.eval(), codec, saved.provenance.get("codec_fingerprint"))


def _file_of(source: Path) -> Path:
    """The checkpoint that a path names."""
    if source.is_file():
        return source
    run = RunFolder(source)
    if run.checkpoints.is_dir():
        best = run.best_model
        if not best.is_file():
            raise CheckpointError(f"{source} has no {best.name} yet: let it validate once, or give a checkpoint file")
        return best
    raise CheckpointError(f"{source} is neither a run folder nor a checkpoint: give one that train.py wrote")


def _described(saved: Checkpoint, path: Path) -> tuple[LanguageModel, Codec, FrameLayout]:
    """Sizes, codec and layout out of a checkpoint's config."""
    config = saved.config
    if not config.get("lm"):
        raise CheckpointError(
            f"{path} is no checkpoint of a token model: give a run of task=rvq_lm; a codec is heard with "
            "snac-exp reconstruct"
        )
    try:
        layout = saved.provenance["config"]
        values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in layout.items()}
        return structure(LanguageModel, config["lm"]), structure(Codec, config["codec"]), FrameLayout(**values)
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its description of the model cannot be read ({error})") from None
