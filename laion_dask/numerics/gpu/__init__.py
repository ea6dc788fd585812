"""The same on a GPU: memory, transfer, the row cache, and the Triton kernels."""
