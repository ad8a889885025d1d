"""Training: the step plan, the loss, the loop, checkpoints."""
