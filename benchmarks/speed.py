"""Time and memory of the maps against bare loops and captum's methods: python -m benchmarks.speed."""

import argparse
import time

import pandas as pd
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from efficientnet_lite_pytorch import EfficientNet
from matplotlib.figure import Figure

from benchmarks.common import HERE, median_seconds, peak_bytes, write_table
from helpers.coordinates import Input, Layer, Removal
from helpers.levels import Drop
from helpers.models import DigitNet
from helpers.nonlinear import NonlinearSaliency
from helpers.paths import Flow, Straight
from helpers.scores import Logit

STEPS = 8


def network() -> EfficientNet:
    """EfficientNet-Lite0; its weights do not matter for time and memory."""
    torch.manual_seed(0)
    return EfficientNet.from_name("efficientnet-lite0").eval()


def prepare():
    """Network and photographs, after one pass through it (which fills caches)."""
    torch.manual_seed(0)
    model, photos = network(), torch.rand(8, 3, 224, 224)
    with torch.no_grad():
        model(photos[:1])
    return model, photos


def bare_loop(model, inputs, steps: int) -> None:
    """As many gradients of the same score as a straight path has, and nothing else."""
    for step in range(steps):
        point = (inputs * (1 - (step + 0.5) / steps)).requires_grad_()
        torch.autograd.grad(model(point)[:, 3].sum(), point)


def straight(model, steps: int, **options) -> NonlinearSaliency:
    return NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(steps), **options)


def integrated(model, inputs, steps: int, internal: int | None = None):
    # with its convergence delta, because our record has it too
    return IntegratedGradients(model).attribute(
        inputs,
        0.0 * inputs,
        target=3,
        n_steps=steps,
        method="riemann_middle",
        internal_batch_size=internal,
        return_convergence_delta=True,
    )


JOBS = {
    "one pass": lambda ready: bare_loop(*ready, 1),
    "bare loop of 16": lambda ready: bare_loop(*ready, 16),
    "straight, 2 steps": lambda ready: straight(ready[0], 2).attribute(ready[1], target=3),
    "straight, 16 steps": lambda ready: straight(ready[0], 16).attribute(ready[1], target=3),
    "straight, internal batch 2": lambda ready: straight(ready[0], 2).attribute(
        ready[1], target=3, internal_batch_size=2
    ),
    "one pass, batch 2": lambda ready: bare_loop(ready[0], ready[1][:2], 1),
    "captum, internal batch 8": lambda ready: integrated(*ready, 2, 8),
    "flow, 4 steps": lambda ready: NonlinearSaliency(ready[0], Logit(), path=Flow(4)).attribute(
        ready[1], target=3, level=Drop(0.01)
    ),
}


def overhead(repeats: int) -> list[dict]:
    """Our straight path against a bare loop of the same number of gradients."""
    rows = []
    model, photos = prepare()
    digits, images = DigitNet().eval(), torch.rand(256, 1, 28, 28)
    for name, net, inputs, limit in (
        ("EfficientNet-Lite0, 8 photos of 224 px", model, photos, 1.05),
        ("digit network, 256 images", digits, images, 1.15),
    ):
        # the straight path measures the scores at both ends without a gradient; the loop does so, too
        def loop(net=net, inputs=inputs):
            bare_loop(net, inputs, STEPS)
            with torch.no_grad():
                net(inputs), net(0 * inputs)

        ours = straight(net, STEPS)
        seconds = median_seconds(
            {"loop": loop, "ours": lambda ours=ours, inputs=inputs: ours.attribute(inputs, target=3)}, repeats
        )
        rows.append(row(f"time, straight / bare loop: {name}", seconds["ours"] / seconds["loop"], limit))
    seconds = median_seconds(
        {
            "ours": lambda: straight(model, STEPS).attribute(photos, target=3),
            "captum": lambda: integrated(model, photos, STEPS, 8),
        },
        repeats,
    )
    rows.append(
        row(
            "time, straight / captum's IntegratedGradients with its delta",
            seconds["ours"] / seconds["captum"],
            1.05,
        )
    )
    place = Layer(model._blocks[-1], Removal(0.0))
    layer = NonlinearSaliency(model, Logit(), place, path=Straight(10))
    seconds = median_seconds(
        {
            "layer": lambda: layer.attribute(photos, target=3),
            "Grad-CAM": lambda: LayerGradCam(model, model._blocks[-1]).attribute(photos, target=3),
        },
        repeats,
    )
    rows.append(row("time, last block, 10 steps / one Grad-CAM", seconds["layer"] / seconds["Grad-CAM"], 2.0))
    return rows


def memory() -> list[dict]:
    """Peak memory beyond network and photographs, as ratios."""
    peak = {job: peak_bytes("benchmarks.speed", job) for job in JOBS}
    one, loop = peak["one pass"], peak["bare loop of 16"]
    return [
        row("memory, bare loop of 16 gradients / one (the allocator's share)", loop / one, float("nan")),
        row("memory, straight, 16 steps / bare loop of 16", peak["straight, 16 steps"] / loop, 1.1),
        row("memory, straight, 2 steps / one pass with gradient", peak["straight, 2 steps"] / one, 1.1),
        row("memory, straight, 16 steps / one pass with gradient", peak["straight, 16 steps"] / one, 1.1),
        row("memory, flow, 4 steps / one pass with gradient", peak["flow, 4 steps"] / one, 1.1),
        row(
            "memory, straight, internal batch 2 / one pass with gradient of 2",
            peak["straight, internal batch 2"] / peak["one pass, batch 2"],
            1.1,
        ),
        row(
            "memory, straight / captum's IntegratedGradients, batch 8",
            peak["straight, 2 steps"] / peak["captum, internal batch 8"],
            1.0,
        ),
    ]


def row(what: str, ratio: float, limit: float) -> dict:
    verdict = "" if limit != limit else "yes" if ratio <= limit else "no"
    return {"what": what, "ratio": round(ratio, 3), "limit": limit, "met": verdict}


def scaling() -> None:
    """Seconds against steps, batch size and pixels, drawn to speed.png."""
    model = network()

    def seconds(steps: int, batch: int, side: int) -> float:
        photos = torch.rand(batch, 3, side, side)
        begin = time.perf_counter()
        straight(model, steps).attribute(photos, target=3)
        return time.perf_counter() - begin

    seconds(1, 1, 64)
    sweeps = {
        "steps (4 photos of 128 px)": [(n, seconds(n, 4, 128)) for n in (2, 4, 8, 16, 32)],
        "batch size (4 steps, 128 px)": [(n, seconds(4, n, 128)) for n in (1, 2, 4, 8, 16)],
        "pixels per side (4 steps, 2 photos)": [(n, seconds(4, 2, n)) for n in (64, 128, 192, 256, 320)],
    }
    figure = Figure(figsize=(10, 3), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, 3), sweeps.items(), strict=True):
        axes.plot(*zip(*points, strict=True), marker="o")
        axes.set(xlabel=name, ylabel="seconds", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(HERE / "speed.png", dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="timings per median")
    repeats = parser.parse_args().repeats
    table = pd.DataFrame(overhead(repeats) + memory())
    scaling()
    write_table(
        "speed",
        table,
        "Ratios of medians, the contenders taking turns in one run; memory is the peak beyond network and photos,"
        " each in a fresh process. Seconds against steps, batch and pixels: speed.png.",
    )
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
