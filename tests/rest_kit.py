"""The conformance kits for transports whose servers do not echo: `/encode` is asked, the server says what arrived."""

from __future__ import annotations

import io

import numpy as np
import pytest
from docarray import Document
from PIL import Image
from rest_servers import serving

from inference_client import Request
from inference_client.testing.models import seen
from inference_client.testing.transports import PARAMETERS, texts_of


def encoded(kind, seed=0):
    """A small image as a file of a kind."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def pixels_of(file):
    """What an encoded image shows."""
    return seen(Document(blob=file))['pixels']


class RestKit:
    """Put it before a kit. A subclass writes `make` and `url_of`.

    Attributes:
        images: whether its server takes images.
        as_they_are: kinds of these that it is sent as they are.
    """

    endpoint = '/encode'
    images = True
    as_they_are = ('JPEG', 'PNG', 'WEBP', 'GIF')

    def make(self):
        """A lenient `RestServer`."""
        raise NotImplementedError

    def url_of(self, rest):
        """The URL of the transport to it."""
        raise NotImplementedError

    def images_in(self, body):
        """The encoded images that arrived in a body."""
        raise NotImplementedError

    @pytest.fixture
    def rest(self):
        with serving(self.make()) as rest:
            yield rest

    @pytest.fixture
    def url(self, rest):
        return self.url_of(rest)

    @pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP'])
    def test_a_blob_arrives_unchanged(self, transport, rest, kind):
        """Of an image, for these servers take nothing else; what they may not read arrives as PNG."""
        if not self.images:
            pytest.skip('its server takes no images')
        blob = encoded(kind)
        (answer,) = self._send(transport, Request(self.endpoint, [Document(blob=blob)])).documents
        assert answer.blob == blob
        (image,) = self.images_in(rest.asked[-1].body)
        assert (image == blob) == (kind in self.as_they_are)
        assert image == blob or (image.startswith(b'\x89PNG') and pixels_of(image) == pixels_of(blob))

    def test_pixels_arrive_unchanged(self, transport, rest):
        if not self.images:
            pytest.skip('its server takes no images')
        pixels = np.arange(9 * 32 * 3, dtype=np.uint8).reshape(9, 32, 3)
        self._send(transport, Request(self.endpoint, [Document(tensor=pixels.copy())]))
        (image,) = self.images_in(rest.asked[-1].body)
        assert pixels_of(image) == seen(Document(tensor=pixels))['pixels']

    def test_parameters_arrive(self, transport, rest):
        """Beside what the wire itself sends."""
        self._send(transport, Request(self.endpoint, texts_of('a'), dict(PARAMETERS)))
        assert PARAMETERS.items() <= rest.asked[-1].body.items()
