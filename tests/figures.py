"""What the tests of figures share: a figure to draw, and what is found in one."""

import io

import matplotlib as mpl
import torch
from PIL import Image, ImageSequence

from helpers.show.landscapes import level_sets
from helpers.show.style import COLOUR_MAPS

EXTENT = (-2.0, 2.0, -1.0, 3.0)


def ring(x):
    return x.square().sum(1, keepdim=True) - 1


def ring_figure(**options):
    start = torch.tensor([[1.5, 0.5]], dtype=torch.float64)
    way = torch.tensor([[1.5, 0.5], [1.2, 0.4], [0.9487, 0.3162]], dtype=torch.float64)
    arguments = {"function": ring, "extent": EXTENT, "start": start, "paths": {"flow": way}, "level": 0.0}
    return level_sets(**(arguments | options))


def by_gid(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def legend_of(figure):
    legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def panels_of(figure):
    """The axes with a picture in them (the colour bar has none)."""
    return [axes for axes in figure.axes if axes.images]


def maps_of(figure):
    """The pictures that are maps, not the image itself."""
    return [p for axes in panels_of(figure) for p in axes.images if p.get_cmap().name != "gray"]


def opened(data):
    return Image.open(io.BytesIO(data))


def moving_frames(data):
    """The frames of a PNG that moves, in RGB, each with its milliseconds; in one go, as a player sees them."""
    frames = ImageSequence.Iterator(opened(data))
    return [(frame.convert("RGB"), round(frame.info["duration"])) for frame in frames]


def words_of(figure):
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text()]


def drawn(figure, *names):
    """Pictures by the names of their colour maps, in the order of the axes."""
    return [p for axes in figure.axes for p in axes.images if p.get_cmap().name in names]


def signed_maps(figure):
    return drawn(figure, COLOUR_MAPS["signed"].name)
