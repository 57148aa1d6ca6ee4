"""data: see each module's docstring."""
