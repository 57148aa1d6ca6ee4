"""convert: see each module's docstring."""
