"""Services that every part of the package uses: seeds, processes, memory, progress, and checks of arguments."""
