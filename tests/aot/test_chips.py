"""Names of slices mean what Google and NVIDIA mean by them."""

import pytest

from leo_jax.aot import chips


@pytest.mark.parametrize(
    ("name", "topology", "devices"),
    [
        ("v5e-256", "v5e:16x16", 256),
        ("v5e-8", "v5e:2x4", 8),
        ("v5litepod-16", "v5e:4x4", 16),
        ("v5e:4x8", "v5e:4x8", 32),
        ("v6e-64", "v6e:8x8", 64),
        ("v4-8", "v4:2x2x1", 4),  # the name counts TensorCores
        ("v4-128", "v4:4x4x4", 64),
        ("v5p-16", "v5p:2x2x2", 8),
        ("h100-8", "1x1x8", 8),
        ("H100-16", "1x2x8", 16),
        ("a100-4", "1x1x4", 4),
        ("h100:1x4x8", "1x4x8", 32),
    ],
)
def test_names(name, topology, devices):
    found = chips.parse(name)
    assert (found.topology, found.devices) == (topology, devices)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v3-8", "v4, v5e, v5p"),
        ("v5e", "-N or :AxB"),
        ("v5e-7", "v5e-4, v5e-8"),
        ("v4-9", "v4-8, v4-16"),
        ("v5e:4x4x4", "2 sides"),
        ("v4:4x4", "3 sides"),
        ("v5e:0x4", "2 sides"),
        ("h100-12", "whole hosts of 8"),
        ("h100-0", "whole hosts of 8"),
    ],
)
def test_what_is_no_slice_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        chips.parse(name)


def test_a_gpu_slice_of_several_hosts_is_bound_by_their_network():
    assert chips.parse("h100-8").link == chips.CHIPS["h100"].link
    assert chips.parse("h100-16").link == chips.CHIPS["h100"].network < chips.CHIPS["h100"].link


@pytest.mark.parametrize(
    ("name", "links", "of"),
    [
        ("v5e:1x1", 1, 4),  # nothing to send: no division by nothing
        ("v5e-4", 2, 4),
        ("v5e-8", 2, 4),
        ("v6e-64", 2, 4),
        ("v5e:8x16", 3, 4),
        ("v5e-256", 4, 4),
        ("v4-8", 2, 6),  # 2x2x1
        ("v5p-16", 3, 6),
        ("v4-32", 3, 6),  # 2x2x4: no side closes
        ("v5p-128", 6, 6),
    ],
)
def test_a_tpu_sends_over_the_links_that_its_slice_has(name, links, of):
    """A chip in a corner of a slice that is no full torus has the fewest."""
    found = chips.parse(name)
    assert found.link == pytest.approx(found.chip.link * links / of)
