"""``python -m collectors.cli`` is the command ``collectors``."""

import sys

from collectors.cli.app import main

sys.exit(main())
