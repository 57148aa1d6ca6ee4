"""training: see each module's docstring."""
