"""Data: simulation from the generative model."""
