"""Runs the command line as `python -m polymodal`, which launchers of several processes need."""

from polymodal.cli.app import main

if __name__ == "__main__":
    main()
