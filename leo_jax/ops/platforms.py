"""One function, several forms: the quickest on each platform."""

from collections.abc import Callable

import jax
from jax import lax
from jaxtyping import Array

Form = Callable[..., Array]


def by_platform(default: Form, **forms: Form) -> Form:
    """A function of float arrays that is computed, and differentiated, by the form for the platform it is compiled for.

    Args:
        default: for platforms without a form of their own.
        **forms: by platform ('cpu', 'tpu', 'cuda'); all of them compute the same.

    Returns:
        The function. Only its arguments are kept for the backward pass; what a form's own derivative needs is written
        there again, and the compiler, seeing it twice, computes it once.
    """

    @jax.custom_vjp
    def function(*arguments: Array) -> Array:
        return lax.platform_dependent(*arguments, default=default, **forms)

    def forward(*arguments: Array) -> tuple[Array, tuple[Array, ...]]:
        return function(*arguments), arguments

    def backward(arguments: tuple[Array, ...], cotangent: Array) -> tuple[Array, ...]:
        pulled = {name: _pullback(form) for name, form in forms.items()}
        return lax.platform_dependent(cotangent, *arguments, default=_pullback(default), **pulled)

    function.defvjp(forward, backward)
    return function


def _pullback(form: Form) -> Callable[..., tuple[Array, ...]]:
    return lambda cotangent, *arguments: jax.vjp(form, *arguments)[1](cotangent)
