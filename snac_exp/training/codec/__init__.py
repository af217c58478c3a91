"""Training a codec: task, data module, evaluator, preflight, samples."""
