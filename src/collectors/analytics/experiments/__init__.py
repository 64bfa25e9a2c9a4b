"""Comparing the variants of experiments: kernels over arrays, one element a comparison."""
