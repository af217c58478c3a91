"""The step of the optimizer: parameter groups, gradients of micro-batches, averaged weights, guards."""
