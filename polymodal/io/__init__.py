"""Files that are written atomically, and read without trusting their contents."""
