"""Video files: reading, writing and resizing frames (RGB uint8)."""


class BadVideo(ValueError):
    """A video that cannot be used; `name` says which, `reason` why."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"
