"""Floor 3: what people look at: a page per run, and runs side by side."""
