"""Linear and nonlinear saliency maps: the routines that the notebooks share.

The floors of the house, each importing only from those below it, or beside it::

    __main__                                            the command: python -m helpers
    sweeps                                              a notebook with every combination of some parameters
    runs, notebooks, bibliography                       papermill runs, the notebooks' files, the works they cite
    scoreboard, playground, explorables                 verdicts on the claims; panels, large and small
    own, batches                                        one's own model and images; their maps on disk
    widgets                                             pictures that follow their controls
    plots, sheets, tabular, depths, sanity              looking, and what single notebooks measure
    evaluation, faithfulness, peers                     measuring
    presets, mean                                       ready-made members of the class, and means of members
    nonlinear, contrast                                 NonlinearSaliency, Explanation: the one entrance
    paths                                               tangent, straight, flow, secant, nearest
    journey                                             what a path sees, and what it leaves behind
    coordinates, geometry, scores, levels, references   the choices
    forward, smoothing                                  the model cut at a layer; blur
    models, classifiers, datasets, photographs          ready-made things to explain
    checks, records                                     checks of arguments; key numbers on record
"""

__version__ = "0.1.0"
