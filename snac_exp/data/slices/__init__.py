"""Aligned slices of codes and audio: data sources, sampler, datasets, batches."""
