"""Linear and nonlinear saliency maps: what the notebooks and their users share.

The rooms, from the top; each imports only from those below it::

    lessons     what single notebooks need: tables, sliders, playground, scoreboard, your model
    run         notebooks executed with parameters, alone or in sweeps; their numbers on record
    show        figures: landscapes, maps, numbers, films, live panels
    measure     specificity, faithfulness, sanity, cost, statistics; the methods to compare with
    zoo         ready-made things to explain: data sets, toys, networks, photographs
    saliency    the method: model, scores, levels, coordinates, geometries, paths, means, presets
"""

__version__ = "0.1.0"
