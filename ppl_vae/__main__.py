"""``python -m ppl_vae``: the command line without an installation."""

from ppl_vae.cli.main import main

main()
