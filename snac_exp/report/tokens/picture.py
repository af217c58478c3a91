"""The statistics of tokens as one picture."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snac_exp.data.tokens.statistics.measure import TokenStatistics
from snac_exp.system.files import atomic_path

_DPI = 100  # pixels per inch


def statistics_picture(path: Path, found: TokenStatistics) -> None:
    """A PNG of 1400 x 400 pixels: how often each token is used, perplexity at every place, lengths of utterances."""
    figure = Figure(figsize=(14, 4), dpi=_DPI, layout="constrained")
    # Not pyplot, which keeps every figure and may ask for a display.
    FigureCanvasAgg(figure)
    # matplotlib takes text between dollar signs for a formula.
    figure.suptitle(f"tokens of codec {found.codec}", parse_math=False)
    ranks, places, lengths = figure.subplots(1, 3)
    _draw_ranks(ranks, found)
    _draw_places(places, found)
    _draw_lengths(lengths, found)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_ranks(axis: Axes, found: TokenStatistics) -> None:
    for book, counts in enumerate(found.counts):
        used = np.sort(counts[counts > 0])[::-1]
        axis.loglog(np.arange(1, len(used) + 1), used / max(int(used.sum()), 1), label=f"codebook {book}")
    axis.set(title="share of each token, most frequent first", xlabel="rank", ylabel="share of the tokens")
    axis.legend()


def _draw_places(axis: Axes, found: TokenStatistics) -> None:
    numbers = np.arange(len(found.places))
    axis.bar(numbers, [use.perplexity for use in found.places], label="perplexity")
    axis.plot(numbers, [use.used for use in found.places], "k_", markersize=14, label="entries that occur")
    axis.set(title="use at the places of a frame", xlabel="place", ylabel="entries", xticks=numbers)
    axis.set_ylim(0, 1.3 * max(use.used for use in found.places))  # room for the legend
    axis.legend(ncols=2)


def _draw_lengths(axis: Axes, found: TokenStatistics) -> None:
    axis.hist(found.all_lengths, bins=min(40, max(len(found.all_lengths), 1)))
    axis.set(title="lengths", xlabel="tokens of an utterance", ylabel="utterances")
