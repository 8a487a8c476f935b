"""Generate `inference_client/_wire/jina_pb2.py` and its stub from `jina.proto`.

Needs grpcio-tools 1.62, whose protoc 25 writes code that every protobuf runtime from 4.25 on loads.
With a folder as argument, write there instead; a test compares that with what is committed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from docarray.proto import docarray_pb2
from google.protobuf import descriptor_pb2, struct_pb2, timestamp_pb2

ROOT = Path(__file__).resolve().parents[1]
PROTO = 'inference_client/_wire/jina.proto'


def generate(target: Path) -> None:
    # docarray ships no .proto file, so protoc gets the descriptors of what ours imports.
    imported = descriptor_pb2.FileDescriptorSet()
    for module in (struct_pb2, timestamp_pb2, docarray_pb2):
        module.DESCRIPTOR.CopyToProto(imported.file.add())
    with tempfile.TemporaryDirectory() as scratch:
        descriptors = Path(scratch, 'imported.bin')
        descriptors.write_bytes(imported.SerializeToString())
        command = [
            sys.executable,
            '-m',
            'grpc_tools.protoc',
            f'-I{ROOT}',
            f'--descriptor_set_in={descriptors}',
        ]
        subprocess.run([*command, f'--python_out={scratch}', f'--pyi_out={scratch}', PROTO], check=True)
        for name in ('jina_pb2.py', 'jina_pb2.pyi'):
            code = Path(scratch, PROTO).with_name(name).read_text(encoding='utf-8')
            code = code.replace('import docarray_pb2 as', 'from docarray.proto import docarray_pb2 as')
            Path(target, name).write_text(code, encoding='utf-8')


if __name__ == '__main__':
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(ROOT, PROTO).parent)
