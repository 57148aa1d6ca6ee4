"""UCF-101 at 256 px (the size is ours): 101 kinds of action.

Paper: LEO (IJCV 2024), which reports one figure without its protocol.
Command: leo prepare --videos UCF-101 --name ucf101 --size 256 --out data/ucf101
         python -m leo_jax.main --config=configs/ucf101.py --workdir=runs/ucf101 --config.animator.vgg19=vgg19.npz
Cost: not measured.
Expected (the paper's, after all stages; lower is better): FVD16 1356.2, protocol not stated.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()
    config.data.dir = "data/ucf101"
    config.data.name = "ucf101"
    config.data.augmentation = "ted"  # ours: the paper does not say; bodies as in TED talks, flip and colour
    return config
