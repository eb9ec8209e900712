"""Emitted functions of gradients and Hessian-vector products: ``numpy_kernels`` and ``torch_kernels``."""
