"""Real engines behind the server, over its three protocols; its processes inherit this one's environment."""

from __future__ import annotations

import numpy as np
import pytest

from inference_client import Client, InputError
from inference_client.server.process import served

SCHEMES = ('grpc', 'http', 'ws')


@pytest.fixture(scope='module')
def clip_server(clip_files):
    with served(f'clip:{clip_files}/saved?device=cpu') as urls:
        yield urls


@pytest.fixture(scope='module')
def blip2_server(blip2_files):
    with served(f'blip2:{blip2_files}/opt?device=cpu') as urls:
        yield urls


@pytest.mark.parametrize('scheme', SCHEMES)
def test_clip(clip_server, clip_files, photos, scheme):
    near = Client().get_model(f'clip:{clip_files}/saved')
    texts = ['a cat', 'a dog']
    with Client() as client:
        far = client.get_model(clip_server[scheme])
        for content in ({'text': texts}, {'image': photos}):
            expected = near.encode(**content).embeddings
            np.testing.assert_allclose(far.encode(**content).embeddings, expected, atol=1e-5)
        ranked = [model.rank(reference=photos[0], candidates=texts)[0].matches for model in (near, far)]
        scores = [[match.scores['clip_score'].value for match in matches] for matches in ranked]
        assert scores[1] == pytest.approx(scores[0], abs=1e-5)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_blip2(blip2_server, blip2_files, photos, scheme):
    near = Client().get_model(f'blip2:{blip2_files}/opt')
    with Client() as client:
        far = client.get_model(blip2_server[scheme])
        for task, parameters in (('caption', {}), ('vqa', {'question': 'what is this?', 'num_beams': 2})):
            answers = [
                [one.tags['response'] for one in model.run(task, image=photos, max_new_tokens=5, **parameters)]
                for model in (near, far)
            ]
            assert answers[0] == answers[1]
        with pytest.raises(InputError, match='num_beams is 99'):
            far.caption(image=photos, num_beams=99)
