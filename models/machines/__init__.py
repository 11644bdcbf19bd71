"""What models run on. The plain numpy version is the meaning of an operation; `choose` chooses."""
