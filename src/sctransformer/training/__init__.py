"""Training: phases, trainer and checkpoints in torch; only `cluster` and `ray_connection` import Ray."""
