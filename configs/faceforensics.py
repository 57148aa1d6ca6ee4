"""FaceForensics at 256 px: 1000 videos of talking faces, cropped by their masks.

Paper: LEO (IJCV 2024), tables on FaceForensics.
Command: leo prepare --videos FaceForensics_compressed --crop masks:FaceForensics_compressed --name faceforensics
             --size 256 --skip_bad --out data/faceforensics
         python -m leo_jax.main --config=configs/faceforensics.py --workdir=runs/faceforensics
             --config.animator.vgg19=vgg19.npz
Cost: not measured.
Expected (the paper's, after all stages; lower is better): unconditional FVD16 52.3, ACD16 0.28; conditional FVD16 35.9,
ACD16 0.27.
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()
    config.data.dir = "data/faceforensics"
    config.data.name = "faceforensics"
    config.data.augmentation = "vox"  # ours: the paper does not say; faces as in VoxCeleb, without augmentation
    return config
