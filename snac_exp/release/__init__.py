"""How a trained checkpoint leaves the repository: a Python API, files, streams, exported folders, the hub."""
