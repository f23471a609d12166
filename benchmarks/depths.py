"""Linear and nonlinear member at every block of a network, on mosaics of photographs: python -m benchmarks.depths.

The members differ by the path alone: gradient times (reference - input), and the same with the gradients met on the
way. With the gain stands the tangent's residual, so that the table can say whether the path pays where it is large.
"""

import torch

from benchmarks.common import BUNDLED_CLASSES, folder_for, parser_of, write_table
from helpers.measure.depths import by_depth, mosaics, per_depth
from helpers.measure.grids import make_grids
from helpers.saliency import Blurred
from helpers.zoo.classifiers import load_classifier
from helpers.zoo.photographs import load_photo, photo_folder, photograph


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--grids", type=int, default=12)
    parser.add_argument("--confidence", type=float, default=0.9, help="of a photograph alone")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    model = load_classifier().model
    if options.photos is None:
        images = torch.stack([photograph(name, 224).image for name in BUNDLED_CLASSES])
        grids = mosaics(model, images, torch.tensor(list(BUNDLED_CLASSES.values())))
    else:
        labelled = photo_folder(options.photos)
        images = torch.stack([load_photo(path, 224).image for path, _ in labelled])
        targets = torch.tensor([target for _, target in labelled])
        grids = make_grids(images, targets, model, options.grids, options.confidence, part="reporting")
    table = by_depth(model, grids, Blurred(24.0), steps=options.steps, square=8).round(4)
    write_table(
        "depths",
        per_depth(table).round(3),
        "Rank AUC of the linear and the nonlinear member at the input and at every block of EfficientNet-Lite0, "
        f"{len(grids)} mosaics of {grids.members.unique().numel()} photographs; means, 95 % intervals by "
        "photograph; residual: the tangent's miss as a share of the change, median.",
        table,
        folder_for(options.quick),
    )


if __name__ == "__main__":
    main()
