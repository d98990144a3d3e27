"""How a described server comes up and goes down."""
