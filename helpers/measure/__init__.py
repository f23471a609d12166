"""Measures, one kind a module: maps, grids, scenes, statistics, peers, cost, sanity, depths, faithfulness."""
