"""Peers for the benches beyond those of `helpers.measure.peers`: from packages, and written after papers.

A peer is made by a function that takes its settings, and called as::

    peer(model, image, classes) -> maps (len(classes), h, w)

with the image as pixel values (1, C, H, W). Maps are float32, channels summed, positive = supports the class; what
is explained is the class's logit. A model is left as it was, and never sees more than 32 images in a pass.
"""

from benchmarks.peers.common import Adapter
from benchmarks.peers.packages import blur_ig, finer_cam, guided_ig, hires_cam, layer_cam, lrp, score_cam
from benchmarks.peers.papers import agi, igos_pp, rise

__all__ = [
    "Adapter",
    "agi",
    "blur_ig",
    "finer_cam",
    "guided_ig",
    "hires_cam",
    "igos_pp",
    "layer_cam",
    "lrp",
    "rise",
    "score_cam",
]
