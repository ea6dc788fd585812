"""GPU arithmetic: memory, transfer, the row cache, and Triton kernels."""
