"""Your own videos: any prepared folder, a small model at 64 px that a CPU can train.

Paper: none. No VGG19 weights are needed; with them, --config.animator.perceptual=vgg19 and perceptual_weight=10.
Command: leo prepare --videos DIR --out data/clips --size 64 --name clips --split tail:0.2
         python -m leo_jax.main --config=configs/clips.py --workdir=runs/clips --config.data.dir=data/clips
Cost: the animator 0.4 s a step on one core; the denoisers' was not measured. They are small, and so predict the velocity
      (docs/training.md, "Small denoisers").
Expected: with a test split, heldout/ratio is the L1 over that of copying the source. Four public clips of people (1951 frames;
          the last fifth of each held out): 0.77 after 1500 steps, 0.73 after 4500 (--config.animator.steps=4500
          --config.animator.falloff=1500), from one model of the puppets, 0.72 after 2500 (falloff=800) from a later one; both
          are earlier than the shipped one. What the denoisers make of them: docs/evaluation.md, "Motion without pixels".
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    config = common.get_config()
    config.model.size = 64
    config.model.width = 0.125
    config.data.dir = "data/clips"
    config.data.name = "clips"
    config.data.batch_size = 8
    config.data.augmentation = "ted"
    config.data.workers = 0  # small frames: threads keep up
    config.animator.steps = 20_000
    config.animator.perceptual = "pyramid_l1"
    config.animator.perceptual_weight = 1.0
    config.animator.motion_emphasis = 1.0  # much of a frame stands still
    config.animator.start_from = "puppets"  # people that move already; "" begins from nothing
    config.animator.adversarial_weight = 0.0
    config.animator.beta1 = 0.9  # without an adversary, momentum helps
    config.animator.ema_decay = 0.998
    config.animator.log_every = 50
    config.animator.picture_every = 500
    config.animator.checkpoint_every = 500
    for name, steps in (("motion", 10_000), ("start", 10_000), ("transition", 10_000), ("first_frame", 20_000)):
        section = config[name]
        section.update({"steps": steps, "batch_size": 32, "learning_rate": 5e-4, "ema_decay": 0.999})
        section.update({"picture_every": 1000, "checkpoint_every": 1000, "heldout": 256})
        if name == "start":
            section.update({"batch_size": 256, "width": 256})
        else:
            section.update({"width": 64, "num_blocks": 1})
    config.motion.multipliers = config.transition.multipliers = (1, 2, 2, 2)  # first_frame's are those of the size
    common.predict_velocity(config)
    return config
