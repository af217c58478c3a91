"""Language models over codec tokens: frames, patterns, transformer, sampling."""
