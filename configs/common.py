"""What all configs share: the paper's values where it (or the authors' animator) gives them; "ours" marks the others.

A data set's config starts from `get_config()` and states only its differences. Values are overridden on the command
line: `--config.animator.steps=1000`.
"""

from ml_collections import ConfigDict


def denoiser(batch_size: int, steps: int) -> ConfigDict:
    """What the four denoisers share; batch and steps are ours for all of them."""
    section = ConfigDict()
    section.batch_size = batch_size  # global: a multiple of the number of devices
    section.steps = steps
    section.start_from = ""  # ours: a model whose network of this stage is trained on; as --model takes it
    section.learning_rate = 1e-4  # the paper's for the motion model, ours for the others; AdamW without decay
    section.warmup = 1000  # ours: steps over which the rate rises
    section.falloff = 0  # ours: last steps, over which it falls linearly to 0; 0 keeps it
    section.ema_decay = 0.9999  # ours: of the running mean of the weights, which is what samples
    section.schedule = "linear"  # ours: of the 1000 steps' noise; or "cosine"
    section.prediction = "noise"  # what the network gives; "velocity" (ours) serves small ones better, for they err
    section.eta = 0.0  # ours: of DDIM, when it samples; 1 adds an ancestral step's noise, which helps networks that err
    section.bound = 0.0  # ours: samples stay in [-bound, bound], pixels or standard deviations; 0 leaves them alone
    section.dtype = ""  # "float32" or "bfloat16" for the arithmetic of feature maps; "" is model.dtype
    section.accumulate = 1  # parts a step cuts its batch into, to save memory; batch_size: a multiple of it
    section.log_every = 100  # steps, as all that follow
    section.picture_every = 5000
    section.checkpoint_every = 5000
    section.keep = 2  # latest checkpoints kept, beside the best
    section.resume_skip_batches = 0  # batches passed over so far, to get past those that spoil it: docs/surviving.md
    section.heldout = 1024  # ours: examples of the test split measured at each checkpoint; 0 measures nothing
    return section


def unet(section: ConfigDict, multipliers: tuple[int, ...], attention: tuple[int, ...]) -> None:
    """The U-Net's fields: those of Nichol & Dhariwal's code, which the paper adopts without giving sizes.

    The choice is ours, as is what that code has no size for: sequences of codes, and pictures of 128 px.
    """
    section.width = 128  # channels at the top: a multiple of groups
    section.multipliers = multipliers  # of the width, one a level; what is noised divides by 2^(levels - 1)
    section.num_blocks = 2  # residual blocks a level
    section.attention = attention
    section.num_heads = 4  # divide the channels where attention is
    section.groups = 32  # of group norm
    section.remat = False  # computes blocks again in the backward pass: less memory, a third more work


def predict_velocity(config: ConfigDict) -> None:
    """What serves denoisers that are small, or trained for hours: ours, docs/training.md ("Small denoisers") says why."""
    for name in ("motion", "start", "transition", "first_frame"):
        config[name].update({"prediction": "velocity", "bound": 1.0 if name == "first_frame" else 3.0})
    config.first_frame.schedule = "cosine"  # heads and limbs come sooner


def get_config() -> ConfigDict:
    """The faithful training at 256 px, without a data set; locked, so that a field's misspelt name is an error."""
    config = ConfigDict()
    config.seed = 0  # of everything random: parameters, order of the data, augmentation
    # Run in this order, each in its own folder of the workdir; there are also 'prepare' (draws puppets) and 'evaluate'.
    config.stages = ("animator", "codes", "motion", "start", "transition", "first_frame", "sample")
    config.animator_from = ""  # a model's folder (`leo convert lia`) to take instead of training stage 1; --animator
    config.profile = ""  # "10:20" traces each stage's steps between these, as --profile=10:20 does

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
    # Ours, unknown in the paper: the two frames of a pair lie a multiple of this apart, consecutive codes exactly this.
    data.stride = 1
    data.on_corrupt = "raise"  # a damaged record ends the run; "skip" trains on another one in its place, and counts
    data.workers = 4  # processes that read and decode, for each process of the run; 0 uses threads

    config.animator = animator = ConfigDict()
    animator.steps = 800_000
    # Ours: a finished model to train on from, a folder or a name as `--model` takes; its sizes have to be model's.
    animator.start_from = ""
    animator.generator_lr = 0.002  # then times 4/5, as StyleGAN2 does for a regulariser that is absent here
    animator.discriminator_lr = 0.002  # then times 16/17, likewise
    animator.beta1 = 0.0  # Adam's, of both networks
    animator.beta2 = 0.99  # likewise, to the power 4/5 and 16/17
    animator.eps = 1e-8  # likewise
    animator.optimiser = "adam"  # or "muon" (ours): kernels follow orthogonal updates, the rest Adam's
    animator.perceptual = "vgg19"  # or "pyramid_l1" (ours), which needs no weights
    animator.vgg19 = ""  # file that `leo convert vgg19` wrote; needed when perceptual = "vgg19"
    animator.perceptual_weight = 10.0  # of each VGG layer at each scale, or of the pyramid
    animator.motion_emphasis = 0.0  # ours, of pyramid_l1: how much more a pixel counts that moves
    animator.l1_weight = 1.0
    animator.adversarial_weight = 1.0  # 0 trains without a discriminator (ours)
    animator.ema_decay = 0.0  # ours: decay of a running mean of the generator's weights; 0 has none, as the original
    animator.falloff = 0  # ours: last steps, over which both rates fall linearly to 0; 0 keeps them, as the original
    animator.accumulate = 1  # parts a step cuts its batch into, to save memory; batch_size: a multiple of 8 times it
    animator.log_every = 100  # steps, as all that follow
    animator.picture_every = 1000
    animator.checkpoint_every = 2000
    animator.keep = 2  # latest checkpoints kept, beside the best
    animator.resume_skip_batches = 0  # batches passed over so far, to get past those that spoil it: docs/surviving.md
    animator.heldout_pairs = 256  # ours: pairs of the test split measured at each checkpoint; 0 measures nothing

    config.codes = codes = ConfigDict()
    codes.batch_size = 32  # frames a device encodes at a time

    config.motion = motion = denoiser(batch_size=128, steps=300_000)
    motion.length = 64  # codes in a sequence (the paper's), the first given
    motion.lmc = True  # the Linear Motion Condition; False is the paper's ablation, without any condition
    unet(motion, multipliers=(1, 2, 3, 4), attention=(4, 8))  # attention where the length is divided by 4 and 8

    config.start = start = denoiser(batch_size=1024, steps=100_000)
    start.width = 512  # ours, as all of this network
    start.num_blocks = 4
    start.time_width = 128

    config.transition = transition = denoiser(batch_size=128, steps=200_000)
    transition.length = 32  # ours: codes from one segment's last to the next one's first, both included
    unet(transition, multipliers=(1, 2, 3, 4), attention=(4, 8))

    config.first_frame = first_frame = denoiser(batch_size=128, steps=500_000)
    # Empty: those of the size, (1, 2, 3, 4) at 64 px, (1, 1, 2, 3, 4) at 128, (1, 1, 2, 2, 4, 4) at 256.
    unet(first_frame, multipliers=(), attention=())  # empty: at 16 and 8 px; else factors that the size is divided by

    config.sample = sample = ConfigDict()
    sample.num = 4  # conditional and unconditional videos each, from frames of the test split (else of training)
    sample.frames = 64  # of them
    sample.long_frames = 512  # of the long one and the one with transitions
    sample.steps = 50  # DDIM steps

    config.evaluate = evaluate = ConfigDict()  # of the stage 'evaluate', which runs where `stages` names it
    evaluate.protocol = "styleganv-16f"  # see docs/evaluation.md
    evaluate.override = ()  # changes of the protocol, such as ("resolution=256",)
    evaluate.metrics = ()  # empty: the protocol's own; 'acd' needs one of the weights below
    evaluate.split = "train"  # of the real side, as in the paper
    evaluate.count = 0  # generated videos; 0: as many as the protocol compares (2048)
    evaluate.steps = 50  # DDIM steps
    evaluate.unconditional = False  # draw the first images too, instead of taking real ones
    evaluate.i3d = ""  # files that `leo convert` wrote; without i3d the installed package's weights
    evaluate.face = ""
    evaluate.reid = ""
    return config.lock()
