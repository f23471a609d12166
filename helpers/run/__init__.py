"""Running notebooks: execute, notebook files, parameters, sweeps, records (papermill and Dask)."""
