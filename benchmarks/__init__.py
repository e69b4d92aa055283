"""Measure the train command side by side with a plain PyTorch script: `python -m benchmarks.run`. Not installed."""
