"""Pipelines with defaults: denoising of images, spike sorting, SpikeInterface."""
