"""Gradus: the step size of neural-network training, from its curve to the honest comparison."""

__version__ = "0.1.0"
