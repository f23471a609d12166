"""Linear and nonlinear saliency maps: the routines that the notebooks share.

The floors of the house, each importing only from those below it::

    runs, notebooks, records                            what a person touches: papermill runs, their results
    scoreboard                                          the verdicts on the claims
    plots, sheets, tabular, depths, sanity              looking, and what single notebooks measure
    evaluation, faithfulness, peers                     measuring
    presets, mean                                       ready-made members of the class, and means of members
    nonlinear, contrast                                 NonlinearSaliency, Explanation: the one entrance
    paths                                               tangent, straight, flow, secant, nearest
    journey                                             what a path sees, and what it leaves behind
    coordinates, geometry, scores, levels, references   the choices
    forward, smoothing, checks                          the model cut at a layer; blur; checks of arguments
    models, classifiers, datasets, photographs          ready-made things to explain
"""

__version__ = "0.1.0"
