"""Measures, one kind a module: maps, grids, statistics, peers, cost, sanity, depths, faithfulness."""
