"""Linear and nonlinear saliency maps: the routines that the notebooks share.

The floors of the house, each importing only from those below it::

    runs                                        what a person touches
    plots, evaluation                           looking and measuring
    nonlinear                                   NonlinearSaliency, Explanation: the one entrance
    paths                                       tangent, straight, flow
    journey                                     what a path sees, and what it leaves behind
    coordinates, geometry, scores, levels       the choices
    models, datasets                            ready-made things to explain
"""

__version__ = "0.1.0"
