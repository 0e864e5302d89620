"""The model organism: a make-believe world, its oracle, and small chat models trained on it."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"  # one Hugging Face folder an architecture
