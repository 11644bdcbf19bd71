"""`python -m lgcodec`: the command line."""

from lgcodec.cli.main import main

main()
