"""How the objective is minimised: a solver is an initial state and a step."""
