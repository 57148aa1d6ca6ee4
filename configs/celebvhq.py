"""CelebV-HQ at 256 px: 35 666 clips of faces.

Paper: LEO (IJCV 2024), table on CelebV-HQ.
Command: leo prepare --videos celebvhq/processed --name celebvhq --size 256 --skip_bad --out data/celebvhq
         python -m leo_jax.main --config=configs/celebvhq.py --workdir=runs/celebvhq --config.animator.vgg19=vgg19.npz
Cost: not measured.
Expected (the paper's, after all stages; lower is better): conditional FVD16 40.2.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()
    config.data.dir = "data/celebvhq"
    config.data.name = "celebvhq"
    config.data.augmentation = "vox"  # ours: the paper does not say; faces as in VoxCeleb, without augmentation
    return config
