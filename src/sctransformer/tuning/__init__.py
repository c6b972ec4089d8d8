"""The search for parameters: its space, one trial, the runs it leaves, the refit of the best."""
