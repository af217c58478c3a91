"""The samples of a run: which clips there are, at which epochs, in which signals."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REFERENCE = "reference"


@dataclass(frozen=True)
class Clip:
    """One validation clip: `files[epoch][label]`, label being `reference_48k`, `48k`, `24k` and their like.

    unit: epoch, or step where a run validates by steps.
    """

    name: str
    files: Mapping[int, Mapping[str, Path]]
    unit: str = "epoch"

    @property
    def labels(self) -> list[str]:
        """All labels, the reference first, then what does not change with training, then high rates first."""
        return sorted({label for files in self.files.values() for label in files}, key=_order)

    def newest(self) -> Mapping[str, Path]:
        """The files of the last epoch."""
        return self.files[max(self.files)]

    def reference_digest(self) -> str:
        """What is said in it: a hash of its newest reference's bytes; empty without a reference."""
        references = [path for label, path in self.newest().items() if label.startswith(REFERENCE)]
        return hashlib.sha256(references[0].read_bytes()).hexdigest() if references else ""


def find_clips(samples: Path) -> list[Clip]:
    """Clips below RUN_DIR/samples: `epoch003/CLIP_LABEL.wav`, or `step0002000/…`; a picture `CLIP.png` beside it tells
    where CLIP ends."""
    found: dict[str, dict[int, dict[str, Path]]] = {}
    unit = "epoch"
    for folder in sorted(samples.glob("*")):
        number = re.fullmatch(r"(epoch|step)(\d+)", folder.name)
        if number is None:
            continue
        unit = number[1]
        # Names of clips may hold underscores; only the pictures, which have no label, tell where they end.
        pictured = [path.stem for path in folder.glob("*.png")]
        for path in sorted(folder.glob("*.wav")):
            clip, label = _split(path.stem, pictured)
            found.setdefault(clip, {}).setdefault(int(number[2]), {})[label] = path
    return [Clip(name, found[name], unit) for name in sorted(found, key=_natural)]


def _split(stem: str, pictured: Sequence[str]) -> tuple[str, str]:
    """Clip and label of a wav's name; a name without a label is the only signal of its clip."""
    owners = [name for name in pictured if stem.startswith(f"{name}_")]
    # The longest name, since `clip_1` may be a clip beside `clip_1_2`.
    clip = max(owners, key=len) if owners else stem.partition("_")[0]
    return clip, stem.removeprefix(clip).lstrip("_") or "sample"


def _natural(name: str) -> list[tuple[int, str]]:
    """clip2 before clip10."""
    # Pairs, since Python does not compare numbers with words; words come first.
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _order(label: str) -> tuple[int, int, str]:
    rank = 0 if label.startswith(REFERENCE) else 1 if label.startswith("pretrained") else 2
    # The highest rate first: negative, and 0 for labels that name none.
    rate = re.search(r"(\d+)k", label)
    return rank, -int(rate[1]) if rate else 0, label


def chosen_epochs(sizes: Mapping[int, int], budget: int) -> list[int]:
    """As many epochs as fit into so many bytes, evenly spread, the first and the last among them; at least the last."""
    epochs = sorted(sizes)
    for number in range(len(epochs), 1, -1):
        # Equally spaced, with both ends: how it began and how it ended are what one listens for.
        chosen = [epochs[round(index * (len(epochs) - 1) / (number - 1))] for index in range(number)]
        if sum(sizes[epoch] for epoch in chosen) <= budget:
            return chosen
    return epochs[-1:]  # the last is kept even where it alone is too large
