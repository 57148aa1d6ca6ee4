"""What the LEO paper reports (IJCV 2024, tables 1, 2 and 4), to stand beside our own measurements."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Reported:
    """One row: metric → (value, ± or None). `protocol` is the one of ours that the paper's data set is measured under."""

    dataset: str
    protocol: str
    system: str
    values: dict[str, tuple[float, float | None]]

    @property
    def few(self) -> bool:
        """Whether the data set has fewer than 2048 videos: StyleGAN-V's protocol takes one clip of each, so all there are."""
        return self.dataset.startswith("faceforensics")  # 1000

    @property
    def clips(self) -> str:
        """How many real and generated clips were compared, as far as the protocol says it."""
        return ("all / 2048" if self.few else "2048") if self.protocol else ""


ROWS = (
    Reported("taichi128", "digan-taichi", "LEO, unconditional (paper)",
             {"fvd": (100.4, 3.1), "kvd": (11.4, 3.2), "acd-body": (1.83, None)}),
    Reported("taichi128", "digan-taichi", "LEO, conditional (paper)",
             {"fvd": (57.6, 2.0), "kvd": (4.0, 1.5), "acd-body": (1.22, None)}),
    Reported("taichi128", "digan-taichi", "LEO without LMC, unconditional (paper)", {"fvd": (118.6, None)}),
    Reported("taichi128", "digan-taichi", "DIGAN, best other (paper)",
             {"fvd": (128.1, None), "kvd": (20.6, None), "acd-body": (2.17, None)}),
    Reported("taichi256", "digan-taichi+resolution=256", "LEO, unconditional (paper)",
             {"fvd": (122.7, 1.1), "kvd": (20.49, 0.9)}),
    Reported("taichi256", "digan-taichi+resolution=256", "LEO, conditional (paper)",
             {"fvd": (94.8, 4.2), "kvd": (13.47, 2.3)}),
    Reported("taichi256", "digan-taichi+resolution=256", "DIGAN, best other (paper)", {"fvd": (156.7, None)}),
    Reported("taichi128-128f", "digan-taichi-128f", "LEO (paper)",
             {"fvd": (155.54, 2.6), "kvd": (48.82, 5.9), "acd-body": (2.06, None)}),
    Reported("faceforensics", "styleganv-16f", "LEO, unconditional (paper)",
             {"fvd": (52.32, None), "acd-face": (0.28, None)}),
    Reported("faceforensics", "styleganv-16f", "LEO, conditional (paper)",
             {"fvd": (35.9, None), "acd-face": (0.27, None)}),
    Reported("faceforensics", "styleganv-16f", "LEO without LMC, unconditional (paper)", {"fvd": (60.03, None)}),
    Reported("faceforensics", "styleganv-16f", "MoStGAN-V, best other FVD (paper)", {"fvd": (39.7, None)}),
    Reported("faceforensics", "styleganv-16f", "MoCoGAN-HD, best other ACD (paper)", {"acd-face": (0.33, None)}),
    Reported("faceforensics-128f", "styleganv-128f", "LEO (paper)", {"fvd": (96.28, None), "acd-face": (0.34, None)}),
    Reported("celebvhq", "styleganv-16f", "LEO, conditional (paper)", {"fvd": (40.2, None)}),
    Reported("celebvhq", "styleganv-16f", "StyleGAN-V, best other (paper)", {"fvd": (69.1, None)}),
    Reported("ucf101", "", "LEO (paper, protocol not stated)", {"fvd": (1356.2, None)}),
)  # fmt: skip
DATASETS = tuple(dict.fromkeys(row.dataset for row in ROWS))


def rows(dataset: str | None, protocol: str) -> list[Reported]:
    """The paper's rows for a data set; with no data set given, all that were measured under the protocol."""
    if dataset is None:
        return [row for row in ROWS if row.protocol == protocol]
    if dataset not in DATASETS:
        raise ValueError(f"the paper has no data set {dataset!r}: there are {', '.join(DATASETS)}")
    return [row for row in ROWS if row.dataset == dataset]
