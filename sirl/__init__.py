"""Safety Instincts Reinforcement Learning: measure, harden, prove and show (arXiv 2510.01088)."""
