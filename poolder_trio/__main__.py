"""``python -m poolder_trio``: see `poolder_trio.cli`."""

import sys

from poolder_trio.cli import main

if __name__ == "__main__":
    sys.exit(main())
