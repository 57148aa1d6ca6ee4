"""TaichiHD at 256 px, or 128 with `configs/taichi.py:128`: people doing tai chi, 2815 train and 285 test videos.

Paper: LEO (IJCV 2024), tables on Taichi; the animator's training is LIA's (ICLR 2022).
Command: leo prepare --videos youtube-taichi --crop boxes:taichi-metadata.csv --name taichi --size 256 --skip_bad
             --out data/taichi
         python -m leo_jax.main --config=configs/taichi.py --workdir=runs/taichi --config.animator.vgg19=vgg19.npz
Cost: not measured; at least 83 chip-hours of v5e for the animator at 256 px (docs/scale.md).
Expected (the paper's, after all stages; lower is better): 128 px unconditional FVD16 100.4 ± 3.1, KVD16 11.4 ± 3.2,
ACD16 1.83, conditional 57.6 ± 2.0, 4.0 ± 1.5, 1.22; 256 px unconditional FVD16 122.7 ± 1.1, KVD16 20.49 ± 0.9,
conditional 94.8 ± 4.2, 13.47 ± 2.3.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(size: str = "256") -> ConfigDict:
    """`size` is '256' or '128'; both read frames stored at 256 px, of which a random 224 px crop is trained on."""
    if size not in ("128", "256"):
        raise ValueError(f"configs/taichi.py:{size}: the paper has 256 (default) and 128")
    config = common.get_config()
    config.model.size = int(size)
    config.data.dir = "data/taichi"
    config.data.name = "taichi"
    config.data.augmentation = "taichi"
    config.evaluate.protocol = "digan-taichi"
    config.evaluate.override = () if size == "128" else ("resolution=256",)
    return config
