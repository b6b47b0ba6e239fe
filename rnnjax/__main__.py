"""``python -m rnnjax`` is the command line."""

from rnnjax.cli import main

raise SystemExit(main())
