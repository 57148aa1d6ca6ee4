"""What all configs share: the paper's values where it (or the authors' animator) gives them; "ours" marks the others.

A data set's config starts from `get_config()` and states only its differences. Values are overridden on the command
line: `--config.animator.steps=1000`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The faithful training of stage 1 at 256 px, without a data set."""
    config = ConfigDict()
    config.seed = 0  # of everything random: parameters, order of the data, augmentation
    config.stages = ("animator",)  # run in this order, each in its own folder of the workdir

    config.mesh = mesh = ConfigDict()  # of devices; data·fsdp is their number, -1 is what the other leaves
    mesh.data = -1  # groups of devices; the batch is shared out over all devices
    mesh.fsdp = 1  # devices that share one copy of parameters, optimiser state and running mean

    config.model = model = ConfigDict()
    model.size = 256  # px; 64, 128, 256 or 512 (32 also works: ours)
    model.width = 1.0  # ours: factor on all channel counts and the style width; 1 in a faithful model
    model.code_dim = 20  # motion directions
    model.dtype = "float32"  # or "bfloat16" for the arithmetic of feature maps; parameters stay float32
    model.remat = False  # computes feature maps again in the backward pass: less memory, a third more arithmetic

    config.data = data = ConfigDict()
    data.dir = ""  # a folder that `leo prepare` wrote, local or gs://
    data.name = ""  # as in `leo prepare --name`; only for people
    data.batch_size = 64  # global: a multiple of the number of devices, best of 8 times it (the statistic's blocks)
    data.augmentation = "none"  # none, vox, taichi or ted, see leo_jax/data/augment.py
    data.stride = 1  # ours, unknown in the paper: the two frames of a pair lie a multiple of this apart
    data.workers = 4  # processes that read and decode, for each process of the run; 0 uses threads

    config.animator = animator = ConfigDict()
    animator.steps = 800_000
    animator.generator_lr = 0.002  # then times 4/5, as StyleGAN2 does for a regulariser that is absent here
    animator.discriminator_lr = 0.002  # then times 16/17, likewise
    animator.beta1 = 0.0  # Adam's, of both networks
    animator.beta2 = 0.99  # likewise, to the power 4/5 and 16/17
    animator.eps = 1e-8  # likewise
    animator.perceptual = "vgg19"  # or "pyramid_l1" (ours), which needs no weights
    animator.vgg19 = ""  # file that `leo convert vgg19` wrote; needed when perceptual = "vgg19"
    animator.perceptual_weight = 10.0  # of each VGG layer at each scale, or of the pyramid
    animator.motion_emphasis = 0.0  # ours, of pyramid_l1: how much more a pixel counts that moves
    animator.l1_weight = 1.0
    animator.adversarial_weight = 1.0  # 0 trains without a discriminator (ours)
    animator.ema_decay = 0.0  # ours: decay of a running mean of the generator's weights; 0 has none, as the original
    animator.accumulate = 1  # parts a step cuts its batch into, to save memory; batch_size: a multiple of 8 times it
    animator.log_every = 100  # steps, as all that follow
    animator.picture_every = 1000
    animator.checkpoint_every = 2000
    animator.keep = 2  # latest checkpoints kept, beside the best
    animator.heldout_pairs = 256  # ours: pairs of the test split measured at each checkpoint; 0 measures nothing
    return config
