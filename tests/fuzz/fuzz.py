"""Coverage-guided fuzzing of what reads bytes of strangers: the two decoders of answers, and the check of images.

Usage: fuzz.py protobuf|message|json|image [libFuzzer options, such as -max_total_time=180]. Needs atheris. It stops at
the first exception that is not the reader's own, and writes what led to it to a file `crash-*`. What `message` reads is
well-formed, with anything in its fields.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import hypothesis

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=['inference_client', 'PIL', 'docarray.proto']):
    import numpy as np
    import strategies
    from docarray import Document, DocumentArray
    from docarray.proto.docarray_pb2 import DocumentProto
    from PIL import Image

    from inference_client._images import check_encoded, decode_image
    from inference_client._messages import Request
    from inference_client._wire import json, protobuf
    from inference_client._wire.jina_pb2 import DataRequestProto
    from inference_client.errors import InferenceError, InputError, ProtocolError, ServerError

warnings.simplefilter('ignore', UserWarning)  # Pillow warns of some damage


def read_protobuf(data: bytes) -> None:
    try:
        protobuf.read_response(protobuf.decode_message(data))
    except InferenceError as error:
        assert isinstance(error, (ProtocolError, ServerError, InputError, NotImplementedError))


@hypothesis.settings(database=None, deadline=None)
@hypothesis.given(strategies.messages(DocumentProto))
def read_message(document: DocumentProto) -> None:
    message = DataRequestProto()
    message.data.docs.docs.add().CopyFrom(document)
    read_protobuf(message.SerializeToString())


def read_json(data: bytes) -> None:
    try:
        json.decode_response(data, 'id')
    except InferenceError as error:
        assert isinstance(error, (ProtocolError, ServerError, InputError, NotImplementedError))


def read_image(data: bytes) -> None:
    try:
        check_encoded(data, 'it', 1 << 20)
        decode_image(data)
    except InputError as error:
        str(error).encode()


def request() -> Request:
    match = Document(text='b', tags={'x': [1.5, None, {'y': True}]}, embedding=np.ones(3, '>f4'))
    match.scores['clip_score'].value = 0.5
    documents = [
        Document(text='a', matches=[match], chunks=[Document(blob=b'c')], weight=0.5, location=[1.0]),
        Document(tensor=np.zeros((2, 2, 3), np.uint8)),
    ]
    return Request('/encode', DocumentArray(documents), {'a': 1})


def pictures() -> list[bytes]:
    made = []
    for kind in ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM', 'ICO'):
        file = io.BytesIO()
        Image.new('RGB', (16, 16), 'red').save(file, kind)
        made.append(file.getvalue())
    return made


TARGETS = {
    'protobuf': (read_protobuf, lambda: [protobuf.encode_request(request())]),
    'message': (read_message.hypothesis.fuzz_one_input, lambda: [bytes(range(256)) * 2]),
    'json': (read_json, lambda: [json.encode_request(request()), b'{"header": {"status": {"code": 1}}, "data": []}']),
    'image': (read_image, pictures),
}

if __name__ == '__main__':
    target, seeds = TARGETS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *sys.argv[2:]], target)
        atheris.Fuzz()
