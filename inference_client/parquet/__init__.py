"""Bulk jobs into Parquet files, which go on where they were killed (extra `[parquet]`).

from inference_client import Client, parquet

model = Client().get_model('grpc://127.0.0.1:51000')
parquet.write(model, 'encode', parquet.files('s3://bucket/photos/*.jpg'), 's3://bucket/photos.parquet')
parquet.write(model, 'encode', parquet.Table('posts.parquet', text='body', keep=['id']), 'vectors.parquet')
"""

from __future__ import annotations

from .._files import files
from .._registered import missing_extra

try:
    from ._inputs import Table
    from ._parts import Written
    from ._write import write
except ImportError as error:
    raise missing_extra('inference_client.parquet', error) from error

__all__ = ['Table', 'Written', 'files', 'write']
