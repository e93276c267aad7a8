"""Benchmarks, one script a question: ``python -m benchmarks.<question> [--short] [--threads N]``."""
