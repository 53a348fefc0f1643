"""Everything about a model's files: finding, judging, reading and writing them; live weights of a training."""
