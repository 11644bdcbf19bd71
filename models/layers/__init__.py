"""What is computed: integer layers, their limits, quantisation."""
