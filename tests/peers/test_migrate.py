"""The page for those who come from other clients: what prints the same there."""

from __future__ import annotations

import sys

import pytest
from pages import ROOT
from player import played

pytest.importorskip('clip_client')


def test_clip_client_prints_the_same(server, tmp_path, monkeypatch):
    page = (ROOT / 'docs' / 'migrate.md').read_text(encoding='utf-8')
    photo = ROOT / 'tests' / 'photos' / 'chelsea.png'
    played(page, tmp_path, monkeypatch, [photo], urls=server, others=(['clip_client'], sys.executable))
