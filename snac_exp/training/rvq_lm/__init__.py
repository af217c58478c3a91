"""Training a language model on tokens: task, data module, evaluator."""
