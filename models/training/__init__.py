"""What trains every family."""
