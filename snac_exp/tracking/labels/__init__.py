"""Tags and notes that people give a run after it began: labels.json in its folder, which the run never touches."""
