"""metrics: see each module's docstring."""
