"""Training of CRsAE inside Keras: the two stages of a batch, their state, inputs and callbacks."""
