"""`python -m fastsim`."""

from fastsim.cli import main

if __name__ == "__main__":
    main()
