"""The workspace of a project of ours: do the phases differ, what do the heads learn, how does it sound, what does it
cost. `snac-exp dashboard project=NAME entity=NAME` publishes it; another file beside this one is another workspace."""

from collections.abc import Sequence

from snac_exp.tracking.speed import PARTS
from snac_exp.tracking.wandb.workspace import Bars, Lines, Media, Panel, Parallel, Rows, Section, Text

ABOUT_PHASES = """\
All recipes log both STFT distances and L1 over the same fixed slices at every validation, also those that they do not
train on: like that the phases compare. Tags `phase:`, `heads:`, `init:` and `codec:` filter the runs."""


def sections(heads: Sequence[str], num_clips: int) -> list[Section]:
    """Sections for runs with these heads that write `num_clips` clips at each validation."""
    return [
        Section("Phases", _phases(heads)),
        Section("Heads", _heads(heads), columns=2),
        Section("Learning rates", _learning_rates()),
        Section("Audio", _audio(heads, num_clips), columns=2),
        Section("Sweeps", _sweeps(), columns=1),
        Section("Speed", _speed(), is_open=False),
        Section("Data and codebooks", _data(), is_open=False),
    ]


def _phases(heads: Sequence[str]) -> list[Panel]:
    distances = ("stft_complex", "stft_magnitude", "l1")
    lines = [Lines(f"{head} {term}", [f"val/{head}/{term}"], x="epoch") for head in heads for term in distances]
    objective = Lines("objective", ["val/objective"], x="epoch")
    return [Text(ABOUT_PHASES), objective, Bars("lowest objective", ["val/objective.min"]), *lines]


def _heads(heads: Sequence[str]) -> list[Panel]:
    panels: list[Panel] = []
    for head in heads:
        panels.append(Lines(f"{head} training", pattern=f"^train/{head}/", x="step", log=True))
        panels.append(Lines(f"{head} validation", pattern=f"^val/{head}/", x="epoch", log=True))
    return panels


def _learning_rates() -> list[Panel]:
    return [
        Lines("learning rate of each group", pattern="^lr/", x="step", log=True),
        Lines("training loss", ["train/loss"], x="step"),
        Lines("gradient norm", ["train/grad_norm"], x="step", log=True),
    ]


def _audio(heads: Sequence[str], num_clips: int) -> list[Panel]:
    rates = sorted((head.removeprefix("head_") for head in heads), key=lambda rate: int(rate.rstrip("k")))
    labels = [f"reference_{rates[-1]}", f"pretrained_{rates[0]}", *rates]
    panels: list[Panel] = []
    for clip in range(num_clips):
        panels.append(Media(f"clip {clip}", [f"samples/clip{clip}_{label}" for label in labels]))
        panels.append(Media(f"clip {clip}: reference, pretrained, heads", [f"pictures/clip{clip}"]))
    return [*panels, Rows("clips/metrics")]


def _sweeps() -> list[Panel]:
    varied = ["init.name", "lr.phases.main.groups.trunk", "lr.phases.main.groups.head_48k", "loss.weights.head_24k"]
    return [Parallel("what matters", [*varied, "seed"], "val/objective.min")]


def _speed() -> list[Panel]:
    return [
        Lines(
            "where the time goes (s per step)", [f"speed/{part}_seconds" for part in (*PARTS, "other")], stacked=True
        ),
        Lines("seconds of audio per second", ["speed/audio_seconds_per_second"]),
        Lines("memory (GiB)", ["speed/peak_rss_gib", "speed/peak_cuda_gib"]),
    ]


def _data() -> list[Panel]:
    return [
        Lines("seconds in a slice", ["data/segment_seconds"]),
        Lines("slices in a batch", ["data/batch_size"]),
        Lines("hours of audio trained on", ["data/audio_hours"]),
        Lines("share of codebook entries in use", pattern=r"^codebook/\d+/usage$", x="epoch"),
        Lines("perplexity of codebooks", pattern=r"^codebook/\d+/perplexity$", x="epoch"),
    ]
