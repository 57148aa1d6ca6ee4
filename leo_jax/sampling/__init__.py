"""sampling: see each module's docstring."""
