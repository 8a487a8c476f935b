"""The program in docs/engines.md, with tiny models in place of the published ones."""

from __future__ import annotations

from isolated import output_of
from pages import ROOT, blocks


def test_the_program_runs(clip_files, blip2_files):
    page = (ROOT / 'docs' / 'engines.md').read_text(encoding='utf-8')
    (program,) = blocks(page, 'python')
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
