"""Training on NVIDIA's GPUs: Triton kernels for what the library does in many passes over memory."""
