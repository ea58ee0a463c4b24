"""Training: objective, optimizer, data order, stages and the trainer, written in the language."""
