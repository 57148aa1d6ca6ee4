"""Sheets show what they are given, where they say."""

import numpy as np
import pytest

from leo_jax.training import pictures


def test_flow_directions_have_the_wheels_colours():
    flow = np.array([[[1, 0], [0, 0], [-1, 0], [0, 1], [0, -1]]], np.float32)
    right, still, left, down, up = pictures.flow_picture(flow, largest=1.0)[0].tolist()
    assert still == [255, 255, 255], "no displacement is white"
    assert right == [255, 0, 0], "to the right is red"
    assert down[0] == 255 and down[1] > 200 and down[2] == 0, "downwards is near yellow"
    assert left[0] == 0 and left[2] == 255, "to the left is between cyan and blue"
    assert up[2] > 200 and up[1] == 0, "upwards is between blue and magenta"


def test_flow_strength_follows_length():
    flow = np.array([[[0.5, 0], [1, 0], [7, 0]]], np.float32)
    half, full, longer = pictures.flow_picture(flow, largest=1.0)[0].tolist()
    assert half == [255, 128, 128] and full == longer == [255, 0, 0]


def test_flow_is_scaled_to_what_is_there():
    flow = np.zeros((1, 4, 4, 2), np.float32)
    assert np.all(pictures.flow_picture(flow) == 255)
    flow[..., 0] = 1e-3
    assert np.all(pictures.flow_picture(flow) == [255, 0, 0])


def test_images_and_masks_are_clamped():
    images = np.array([-2, -1, 0, 1, 2], np.float32)[None, :, None].repeat(3, axis=-1)
    assert pictures.image_picture(images)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    mask = np.array([-1, 0, 0.5, 1, 2], np.float32)[None, :, None]
    assert pictures.mask_picture(mask)[0, :, 2].tolist() == [0, 0, 128, 255, 255]


def test_sheet_puts_examples_in_rows_and_columns_in_order():
    cell, gap, top = pictures.SMALLEST_CELL, pictures.GAP, pictures.HEADER
    images = np.stack([np.full((32, 32, 3), value, np.float32) for value in (-1.0, 1.0)])
    columns = {
        "source": images,
        "bytes": np.full((2, 16, 16, 3), 77, np.uint8),
        "mask": np.full((2, 8, 8, 1), 0.5, np.float32),
        "flow": np.ones((2, 8, 8, 2), np.float32),
    }
    sheet = pictures.sheet(columns)
    assert sheet.shape == (top + 2 * cell + gap, 4 * cell + 3 * gap, 3) and sheet.dtype == np.uint8
    middle = [
        [sheet[top + cell // 2 + r * (cell + gap), cell // 2 + c * (cell + gap), 0] for c in range(3)] for r in (0, 1)
    ]
    assert middle == [[0, 77, 128], [255, 77, 128]]
    assert np.any(sheet[:top, :cell] < 100), "the column's name is missing"


def test_sheet_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="'depth' is float64"):
        pictures.sheet({"depth": np.zeros((2, 8, 8, 4))})
    with pytest.raises(ValueError, match="different numbers of rows"):
        pictures.sheet({"a": np.zeros((2, 8, 8, 3)), "b": np.zeros((1, 8, 8, 3))})
