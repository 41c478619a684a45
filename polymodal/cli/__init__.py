"""How people reach polymodal without writing Python."""
