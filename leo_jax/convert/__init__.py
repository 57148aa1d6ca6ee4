"""Released weights into this package's networks: strict by name and shape, a table of name rules for each source."""

from leo_jax.convert.face import face as face
from leo_jax.convert.i3d import i3d as i3d
from leo_jax.convert.improved_diffusion import improved_diffusion as improved_diffusion
from leo_jax.convert.lia import lia as lia
from leo_jax.convert.lpips import lpips as lpips
from leo_jax.convert.reid import reid as reid
from leo_jax.convert.vgg19 import vgg19 as vgg19
