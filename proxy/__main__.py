"""`python -m proxy`: the command line."""

from proxy.cli.main import main

main()
