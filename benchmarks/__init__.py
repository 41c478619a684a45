"""Speed, compared with a plain reference in the same process. Not part of the installed package."""
