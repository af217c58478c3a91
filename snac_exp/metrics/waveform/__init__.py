"""Metrics of two waveforms, one file each: the pure function, and a `Metric` that says how it is shown."""
