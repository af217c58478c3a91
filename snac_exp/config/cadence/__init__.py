"""When things happen in a run: ranges of epochs or steps, and what comes back every so often."""
