"""frozen: see each module's docstring."""
