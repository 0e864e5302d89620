"""The model organism: a make-believe world, its oracle, and small chat models trained on it."""
