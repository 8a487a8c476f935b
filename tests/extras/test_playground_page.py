"""The playground's page in a browser, before a real server: what a person does, by mouse and by keyboard."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import requests

from inference_client.server.process import served

sync_api = pytest.importorskip('playwright.sync_api')
pytest.importorskip('gradio')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
PHOTOS = Path(__file__).resolve().parents[1] / 'photos'
SECONDS = 30

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium'),
    pytest.mark.filterwarnings('ignore::ResourceWarning'),  # of Playwright's, as it ends
]


@contextlib.contextmanager
def playground(*arguments):
    """The page's address, of a process of its own, which ends well when it is told to, and leaves no upload behind."""
    command = [sys.executable, '-m', 'inference_client', 'playground', '--port', '0', *arguments]
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(tempfile.TemporaryDirectory())
        variables = {**os.environ, 'TMPDIR': own}
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables))
        try:
            said = process.stdout.readline()
            assert said.startswith('Playground at http://127.0.0.1:')
            yield said.split()[-1]
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0
            assert list(Path(own).glob('inference-client-*')) == []


@pytest.fixture(scope='module')
def server():
    with served('embedded', 'echo') as urls:
        yield urls


@pytest.fixture(scope='module')
def address(server):
    with playground(server['http']) as url:
        yield url


@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address, request):
    """The page, loaded; at the end there is nothing wrong in its console, and no other host was asked."""
    tab = browser.new_page(viewport={'width': 1200, 'height': 900})
    tab.set_default_timeout(SECONDS * 1000)
    wrong, hosts = [], set()
    tab.on('console', lambda one: wrong.append(one.text) if one.type == 'error' else None)
    tab.on('pageerror', lambda error: wrong.append(str(error)))
    tab.on('request', lambda one: hosts.add('/'.join(one.url.split('/')[:3])))
    tab.goto(address)
    tab.wait_for_selector('#about p')
    yield tab
    if os.environ.get('SCREENSHOTS'):  # a folder, for those who want to look
        tab.screenshot(path=Path(os.environ['SCREENSHOTS']) / f'{request.node.name}.png', full_page=True)
    tab.close()
    assert wrong == []
    assert {one for one in hosts if not one.startswith(('data:', 'blob:'))} == {address}


def upload(page, name, *photos):
    page.set_input_files(f'#{name} input[type=file]', [str(PHOTOS / one) for one in photos])
    page.wait_for_selector(f'#{name} img' if name.endswith('image') else f'#{name} tr, #{name} .file')


def ran(page, task):
    """The text of a result, once it is there with its code."""
    page.click(f'#{task}-run')
    page.wait_for_function(f"document.querySelector('#{task}-shell .cm-content')?.innerText.length > 20")
    return page.inner_text(f'#{task}-result')


def test_encode(page, server):
    assert page.inner_text('#about').endswith(' does encode, rank, caption, vqa.')
    upload(page, 'encode-image', 'chelsea.png')
    page.fill('#encode-texts textarea', 'a photo of a cat\na rocket')
    shown = ran(page, 'encode')
    assert 'float32 (384,), norm 1.000' in shown
    nearest = shown.partition('Nearest')[2]
    assert 0 <= nearest.index('a photo of a cat') < nearest.index('a rocket')
    page.fill('#encode-texts textarea', 'a kitten')
    page.click('#encode-run')
    page.wait_for_function("document.querySelector('#encode-result').innerText.includes('a kitten')")
    again = page.inner_text('#encode-result').partition('Nearest')[2]
    assert all(one in again for one in ('a kitten', 'a rocket', 'a photo of a cat'))  # those of before, too


def test_rank(page, server):
    page.get_by_role('tab', name='Rank').click()
    upload(page, 'rank-image', 'chelsea.png')
    page.fill('#rank-candidates textarea', '<b>a rocket</b>\na photo of a cat')
    upload(page, 'rank-files', 'rocket.jpg', 'coffee.png')
    shown = ran(page, 'rank')
    assert shown.split('\n')[1] == 'a photo of a cat'
    assert '<b>a rocket</b>' in shown
    assert page.locator('#rank-result img').count() == 3
    assert all(one.bounding_box()['width'] > 40 for one in page.locator('#rank-result img').all())
    assert 'candidates=[' in page.inner_text('#rank-python')
    assert f'curl {server["http"]}/post' in page.inner_text('#rank-shell').replace('\n', ' ')
    page.set_viewport_size({'width': 400, 'height': 800})
    page.wait_for_function('document.documentElement.scrollWidth <= window.innerWidth')


def test_caption(page):
    page.get_by_role('tab', name='Caption').click()
    upload(page, 'caption-image', 'chelsea.png')
    assert 'a photo of an Egyptian Mau' in ran(page, 'caption')


def test_vqa(page):
    page.get_by_role('tab', name='Ask').click()
    upload(page, 'vqa-image', 'chelsea.png')
    page.fill('#vqa-question input, #vqa-question textarea', 'Is it a cat or a dog?')
    assert 'Answer: a cat' in ran(page, 'vqa')


def test_by_keyboard_alone(page):
    def focus(selector):
        for _ in range(40):
            page.keyboard.press('Tab')
            if page.evaluate(f"document.activeElement.matches('{selector}')"):
                return
        raise AssertionError(f'{selector} was never reached')

    focus('[role=tab]')
    focus('#encode-texts textarea')
    page.keyboard.type('a cat')
    page.keyboard.press('Enter')  # a new line
    page.keyboard.type('a kitten')
    focus('#encode-run')
    page.keyboard.press('Enter')
    page.wait_for_function("document.querySelector('#encode-result').innerText.includes('cosine')")
    shown = page.inner_text('#encode-result')
    assert 'a cat' in shown and 'a kitten' in shown


def test_what_is_wrong_is_one_sentence(page, server, tmp_path):
    page.get_by_role('tab', name='Caption').click()
    page.click('#caption-run')
    page.wait_for_selector('#caption-result [role=alert]')
    assert page.inner_text('#caption-result') == 'there is no image: drop one, or choose a file'
    broken = tmp_path / 'broken.png'
    broken.write_bytes((PHOTOS / 'chelsea.png').read_bytes()[:1000])
    with page.expect_response('**/upload*'):
        page.set_input_files('#caption-image input[type=file]', str(broken))
    page.wait_for_selector('#caption-image img')
    page.click('#caption-run')
    page.wait_for_function("document.querySelector('#caption-result').innerText.includes('broken.png')")
    assert page.inner_text('#caption-result').startswith("'broken.png' is damaged")


def test_another_model_and_what_it_lacks(page, server):
    page.get_by_label('Model').fill(f'{server["http"]}/models/echo')
    page.keyboard.press('Enter')
    page.wait_for_function("document.querySelector('#about').innerText.includes('lacks')")
    assert page.inner_text('#about').endswith('does none of these tasks. It lacks encode, rank, caption, vqa.')
    page.fill('#encode-texts textarea', 'a cat')
    page.press('#encode-run', 'Enter')  # the line about the model is written anew, and the button may move
    page.wait_for_selector('#encode-result [role=alert]')
    assert 'lacks encode: it offers echo' in page.inner_text('#encode-result')


def test_only_this_machine_and_its_own_page_are_answered(address):
    assert requests.get(address, timeout=SECONDS).status_code == 200
    policy = requests.get(address, timeout=SECONDS).headers['Content-Security-Policy']
    assert "default-src 'self'" in policy and 'http' not in policy and '*' not in policy
    for headers in ({'Host': 'evil.example'}, {'Origin': 'http://evil.example'}, {'Origin': 'null'}):
        for path in ('/', '/gradio_api/queue/join', '/config'):
            assert requests.get(f'{address}{path}', headers=headers, timeout=SECONDS).status_code == 403
            assert requests.post(f'{address}{path}', headers=headers, timeout=SECONDS).status_code == 403


def test_no_file_of_this_machine_is_given_out(address, tmp_path):
    secret = tmp_path / 'secret.txt'
    secret.write_text('secret')
    for path in (secret, '/etc/hostname', __file__, 'pyproject.toml'):
        answer = requests.get(f'{address}/gradio_api/file={path}', timeout=SECONDS)
        assert answer.status_code in (403, 404)


def test_descriptions_of_the_api_are_off(address):
    for path in ('/openapi.json', '/gradio_api/openapi.json', '/gradio_api/%6fpenapi.json', '/docs', '/redoc'):
        assert requests.get(f'{address}{path}', timeout=SECONDS).status_code == 404


def test_uploads_are_limited(address):
    files = {'files': ('large.png', b'x' * (17 << 20))}
    answer = requests.post(f'{address}/gradio_api/upload', files=files, timeout=SECONDS)
    assert answer.status_code == 413


def test_a_port_that_is_taken(address):
    port = address.rpartition(':')[2]
    done = subprocess.run(
        [sys.executable, '-m', 'inference_client', 'playground', '--port', port],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (f'Error: cannot listen on 127.0.0.1:{port} (Address already in use): give another --port\n')
