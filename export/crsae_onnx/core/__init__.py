"""The floor that both packages stand on: NumPy alone."""
