"""`inference-client`, also as `python -m inference_client`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; say which extra it needs where that is missing."""
    try:
        from .cli import run
    except ModuleNotFoundError as error:
        if error.name != 'click':
            raise
        sys.exit("Error: the command line needs click, which is not installed: pip install 'inference-client[cli]'")
    sys.exit(run(sys.argv[1:]))


if __name__ == '__main__':
    main()
