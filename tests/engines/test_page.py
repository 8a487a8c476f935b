"""The programs of pages that need CLIP or BLIP-2, with tiny models in place of the published ones."""

from __future__ import annotations

import re

from isolated import output_of
from pages import ROOT, blocks
from player import played


def test_the_program_runs(clip_files, blip2_files):
    page = (ROOT / 'docs' / 'engines.md').read_text(encoding='utf-8')
    program, _ = blocks(page, 'python')  # the other makes what test_onnx.py reads
    for published, here in (
        ('ViT-B-32::openai', f'clip:{clip_files}/saved'),
        ('Salesforce/blip2-opt-2.7b?device=cuda', f'blip2:{blip2_files}/opt?device=cpu'),
        ('cat.jpg', str(ROOT / 'tests' / 'photos' / 'chelsea.png')),
    ):
        assert published in program
        program = program.replace(published, here)
    shape, best, *texts = output_of(program).splitlines()
    assert shape == '(16,)'
    assert best in ('a cat', 'a dog')
    assert texts


def test_the_last_step_of_the_tutorial(clip_files, tmp_path, monkeypatch):
    page = (ROOT / 'docs' / 'tutorial.md').read_text(encoding='utf-8')
    step = page[page.index('## Host CLIP') :].replace("pip install '.[clip]'\n", '')
    step, marks = re.subn('<!-- not run: .* -->\n', '', step)
    assert marks == 2
    told = '...clip:... is ready; ...\n(16,)\n' + 3 * 'a ...0...\n'
    photo = ROOT / 'tests' / 'photos' / 'chelsea.png'
    with_result = f'{step}```text\n{told}```\n'
    played(with_result, tmp_path, monkeypatch, [photo], replaced={'ViT-B-32::openai': f'clip:{clip_files}/saved'})
