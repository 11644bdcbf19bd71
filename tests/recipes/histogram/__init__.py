"""A family for tests alone: how often each value was seen. tests/test_recipes.py adds it as CONTRIBUTING.md says."""
