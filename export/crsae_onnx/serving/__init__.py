"""Servers of exported encoders."""
