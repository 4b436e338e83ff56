"""`python -m durastream` is the command `durable-streams`."""

import sys

from durastream.cli import main

sys.exit(main())
