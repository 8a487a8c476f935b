"""Images as pixels for CLIP, beside what transformers makes of them with the same settings."""

from __future__ import annotations

import numpy as np
import pytest
import transformers

from inference_client import ConfigurationError
from inference_client.engines._preprocessing import Preprocessing

SHAPES = [(300, 400), (241, 353), (353, 241), (90, 51), (40, 60), (7, 20), (64, 64)]


def both(settings, shape):
    """What this library and transformers make of an image."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    own = transformers.CLIPImageProcessorPil.from_dict(settings)
    return Preprocessing(settings)([image]), own(image, return_tensors='np').pixel_values


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize(
    'settings',
    [
        {'size': 249, 'crop_size': 224},
        {'size': {'shortest_edge': 256}, 'crop_size': {'height': 224, 'width': 224}},
        {'size': 41, 'crop_size': 32},
        {'size': 40, 'crop_size': 31},
        {'size': 40, 'crop_size': {'height': 31, 'width': 20}},
        {'size': {'height': 33, 'width': 40}, 'crop_size': {'height': 32, 'width': 31}},
        {'size': {'height': 33, 'width': 40}, 'do_center_crop': None},
        {'do_normalize': False},
        {'do_rescale': False, 'image_mean': [1, 2, 3], 'image_std': [4, 5, 6], 'resample': 2},
        {},
    ],
    ids=str,
)
def test_images_are_prepared_as_transformers_does(settings, shape):
    found, expected = both(settings, shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'do_resize': False}, 'images are padded, or not scaled'),
        ({'do_resize': None}, 'images are padded, or not scaled'),
        ({'do_pad': True}, 'images are padded, or not scaled'),
        ({'do_center_crop': False}, 'images keep any shape'),
        ({'do_center_crop': None}, 'images keep any shape'),
        ({'size': {'shortest_edge': 224, 'longest_edge': 300}}, "size is {'shortest_edge': 224, 'longest_edge': 300}"),
        ({'size': {'height': 224}}, "size is {'height': 224}"),
        ({'size': 224.0}, 'size is 224.0'),
        ({'size': {'height': 224, 'width': '224'}}, "size is {'height': 224, 'width': '224'}"),
        ({'size': 0}, 'size is 0'),
        ({'crop_size': {'shortest_edge': 224}}, "crop_size is {'shortest_edge': 224}"),
        ({'size': 32}, '224 x 224 of 32 x 32 pixels'),
        ({'image_mean': 0.5}, 'expected .* image_mean and image_std of three numbers'),
        ({'image_std': ['a', 'b', 'c']}, 'expected .* image_mean and image_std of three numbers'),
        ({'rescale_factor': 'small'}, 'could not convert'),
        ({'size': None}, 'size is None'),
        ({'crop_size': None}, 'crop_size is None'),
        ({'image_mean': None}, 'expected .* image_mean and image_std of three numbers'),
        ({'resample': None}, 'None is not a valid Resampling'),
        ({'resample': 77}, '77 is not a valid Resampling'),
    ],
    ids=str,
)
def test_other_settings_are_refused(settings, words):
    with pytest.raises(ConfigurationError, match=f'preprocessor_config.json is not one of CLIP .*{words}'):
        Preprocessing(settings)
