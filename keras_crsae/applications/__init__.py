"""Pipelines with defaults: what a user wants done, in one call."""
