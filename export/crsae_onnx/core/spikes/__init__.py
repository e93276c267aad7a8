"""Spikes in codes and recordings."""
