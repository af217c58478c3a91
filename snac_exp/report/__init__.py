"""What people look at: a page per run, and runs side by side."""
