"""models: see each module's docstring."""
