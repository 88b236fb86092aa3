"""The command line, run as `python -m proxy`."""

from proxy.cli.main import main

main()
