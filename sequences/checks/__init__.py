"""What is proven of a recipe before a volt is applied, one subject a file. `sequences.check` runs them all."""
