"""The plain fields of documents and scores, by name with their types: one table for both wires."""

from __future__ import annotations

PLAIN = {
    'parent_id': str,
    'granularity': int,
    'adjacency': int,
    'mime_type': str,
    'weight': float,
    'uri': str,
    'offset': float,
    'modality': str,
}
SCORE = {'value': float, 'op_name': str, 'description': str, 'ref_id': str}
