"""ops: see each module's docstring."""
