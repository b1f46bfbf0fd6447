"""Makes a package of the folder that Python was given, so that its files can name each other."""

import sys
from pathlib import Path

# Nothing is left in the working copy.
sys.dont_write_bytecode = True
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from side_by_side.command_line import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
