"""How the dictionary acts on a code and on a signal: pure functions of tensors."""
