"""Services for tests: the real command line in a process of its own, with the engines of `service_engines.py`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from isolated import write_distribution

HOST = '127.0.0.1'
TIMEOUT = 60
OTHER = 'org/other 1.0::x'


class Service:
    """A running service.

    Attributes:
        process: its main process.
        urls: by scheme, without a model.
        folder: where a file `go on` lets the engine `slow` be loaded.
    """

    def __init__(self, process, urls, folder, errors):
        self.process, self.urls, self.folder, self._errors = process, urls, folder, errors

    @property
    def log(self):
        """What it has written to standard error."""
        return self._errors.read_text(encoding='utf-8')

    def wait_until_settled(self):
        """Wait until each model is up or has failed; gives what it says then."""
        return self.process.stdout.readline()

    def stop(self):
        """Stop it; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT)


@contextlib.contextmanager
def service(python, folder, *arguments, settle=True, **environment):
    """A service with these arguments, on free ports.

    Args:
        python: of the fixture `server_python`.
        folder: an empty directory.
        arguments: of `inference-client serve`; without `--token-file`, everyone on this machine is let in.
        settle: whether to wait until each model is up or has failed.
        environment: variables.
    """
    source = (Path(__file__).parent / 'service_engines.py').read_text(encoding='utf-8')
    write_distribution(folder, 'service-engines', {'test': 'service_engines'}, service_engines=source)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get('PYTHONPATH')])])
    auth = [] if '--token-file' in arguments else ['--no-auth']
    ports = [one for scheme in ('grpc', 'http', 'ws') for one in (f'--{scheme}-port', '0')]
    errors = folder / 'stderr'
    with errors.open('w') as log, subprocess.Popen(
        [python, '-m', 'inference_client', 'serve', *auth, *ports, *arguments],
        env={**os.environ, 'PYTHONPATH': path, 'TEST_FOLDER': str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    ) as process:
        try:
            urls = {}
            for line in process.stdout:
                urls[line.partition('://')[0]] = line.strip()
                if len(urls) == 3:
                    break
            assert process.poll() is None, errors.read_text()
            running = Service(process, urls, folder, errors)
            if settle:
                running.wait_until_settled()
            yield running
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
