"""What is made of a compiled program's figures, and how a person reads them."""

import pytest

from leo_jax.aot import chips, inputs, report
from leo_jax.aot.roofline import Memory, Roofline, Traffic, largest

GB = 10**9


def roofline(**changes):
    """Of 8 v5e chips: 10 ms of arithmetic, 40 ms of memory traffic, 1 ms on the links."""
    given = {
        "stage": "animator",
        "place": chips.parse("v5e-8"),
        "mesh": {"data": 8, "fsdp": 1},
        "batch_size": 64,
        "example": "pair",
        "memory": Memory(3 * GB, 2 * GB, 1 * GB, 7 * GB, 1 * GB),
        "flops": 197e10,
        "model_flops": 98.5e10,
        "float32": 0.0,
        "bytes": 0.04 * 819e9,
        "compiler_bytes": 0.05 * 819e9,
        "collectives": {"all-reduce": Traffic(3, 50_000_000, 0.001)},
        "parameter_bytes": {"generator": 4e7},
        "compiler": "libtpu 1.2",
        "tracing": 20.0,
        "compiling": 300.0,
        "processor": 500.0,
    }
    return Roofline(**{**given, **changes})


def test_the_longest_time_is_the_bound():
    r = roofline()
    assert r.seconds == pytest.approx({"flops": 0.01, "bytes": 0.04, "links": 0.001})
    assert r.bound == pytest.approx(0.04)
    assert r.rate == pytest.approx(64 / 0.04)
    assert r.utilisation == pytest.approx(0.005 / 0.04), "of the mathematics, not of what was executed"
    assert roofline(flops=197e11).bound == pytest.approx(0.1)
    assert roofline(float32=0.1).seconds["flops"] == pytest.approx(0.01 * (0.9 + 0.1 * 6)), "six products for one"


def test_memory_counts_an_aliased_output_once():
    assert roofline().memory.total == 12 * GB
    assert roofline().fits
    assert not roofline(memory=Memory(3 * GB, 2 * GB, 1 * GB, 12 * GB, 1 * GB)).fits, "17 GB do not fit 16"


def test_paragraph_says_what_limits_and_what_it_costs():
    text = report.paragraph(roofline(), inputs.Input(3200.0, 76.8e6, 3.8), steps=900_000, batch_size=64)
    assert "by bytes: 1600 pairs/s; MFU at most 12.5 %" in text
    assert "3 all-reduce, 50.00 MB" in text
    assert "900000 steps of 64 at this rate: 10 hours, 80 chip-hours at least" in text
    assert "5 hours, 40 chip-hours" in report.paragraph(roofline(), steps=900_000, batch_size=32)
    assert "float32" not in text.split("\n")[2] and "10.0 % of it in float32, at 32.8" in report.paragraph(
        roofline(float32=0.1)
    )
    assert "3200 frames/s" in text and "3.8 cores" in text
    assert "DOES NOT FIT" in report.paragraph(roofline(memory=Memory(20 * GB, 0, 0, 0, 0)))


def test_table_has_a_row_for_each():
    lines = report.table([roofline(), roofline(place=chips.parse("v5e-64"))]).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert "| 8 v5e | 64 |" in lines[2] and "| 64 v5e |" in lines[3]


@pytest.mark.parametrize(("topology", "hosts"), [("v5e-8", 1), ("v5e-64", 8), ("v5e-4", 1), ("h100-16", 2)])
def test_input_is_of_a_host(topology, hosts):
    r = roofline(place=chips.parse(topology))
    found = inputs.needed(r, 2, frames_per_core=500.0, frame_bytes=1000.0)
    assert found.frames == pytest.approx(2 * r.rate / hosts)
    assert (found.bytes, found.cores) == pytest.approx((1000 * found.frames, found.frames / 500))


def test_input_is_measured_on_a_data_set(tmp_path):
    from leo_jax.data.puppets import make_dataset

    make_dataset(tmp_path, name="puppets", num_train=2, num_test=1, frames=3, size=16, preset="easy", seed=0)
    rate, size = inputs.measured(tmp_path, 16, "none")
    assert rate > 100 and 100 < size < 5000


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 21, 64, 100, 4096, 10_000])
@pytest.mark.parametrize("block", [1, 8])
def test_largest_batch_is_found_in_few_tries(limit, block):
    tried = []
    found = largest(lambda n: tried.append(n) or n <= limit, block)
    exact = min(limit, 4096) // block * block
    assert exact - max(block, found // 16) < found <= exact
    assert all(n % block == 0 for n in tried) and len(tried) < 19


def test_the_search_for_the_largest_batch_begins_at_one_that_fits():
    tried = []
    assert largest(lambda n: tried.append(n) or n <= 600, 8, known=256) == 576
    assert tried == [512, 1024, 768, 640, 576, 608]
    assert largest(lambda n: n <= 9000, 8, known=8192) == 8192, "more than is tried fitted already"
