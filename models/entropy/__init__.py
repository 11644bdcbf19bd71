"""What is coded: distributions as integer tables, and the loops that visit them."""
