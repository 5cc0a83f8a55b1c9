"""What the pool costs next to what people use without it: `python -m benchmarks`."""
