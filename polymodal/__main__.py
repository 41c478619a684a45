"""`python -m polymodal`: the command line, for launchers of several processes."""

from polymodal.cli.app import main

if __name__ == "__main__":
    main()
